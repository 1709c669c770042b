"""What every task must do, on real data and on the embedded sets, with real networks."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from spnas.networks import get_network
from spnas.tasks import Task, check_data, open_task
from spnas.training import Schedule, score_model, train

CPU = torch.device("cpu")
NETWORKS = {"detect": ("yolov8n", 96), "classify": ("resnet20-cifar", 32)}


@pytest.fixture(scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def cells(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 training and 12 validation images of blood cells; gives the data.yaml."""
    source, root = shared_data / "bccd", tmp_path_factory.mktemp("cells")
    for split, count in (("train", 24), ("val", 12)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for image in sorted((source / "images" / split).iterdir())[:count]:
            shutil.copy(image, root / "images" / split)
            shutil.copy(source / "labels" / split / f"{image.stem}.txt", root / "labels" / split)
    shutil.copy(source / "data.yaml", root)
    return str(root / "data.yaml")


@pytest.fixture(scope="module")
def signs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """12 training and 6 validation images of each sign; gives the folder."""
    root = tmp_path_factory.mktemp("signs")
    for split, count in (("train", 12), ("val", 6)):
        for folder in (shared_data / "sign_digits" / split).iterdir():
            (root / split / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:count]:
                shutil.copy(image, root / split / folder.name)
    return str(root)


@dataclass
class Case:
    kind: str
    data: str | None
    task: Task

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return get_network(NETWORKS[self.kind][0]).build(self.task.num_classes)


@pytest.fixture(scope="module", params=["cells", "signs", "scenes", "digits"])
def case(request: pytest.FixtureRequest, _cache: None) -> Case:
    kind = "detect" if request.param in ("cells", "scenes") else "classify"
    data = request.getfixturevalue(request.param) if request.param in ("cells", "signs") else None
    return Case(kind, data, open_task(kind, data, imgsz=NETWORKS[kind][1], device=CPU))


def _first(case: Case, seed: int = 0, batch: int = 8) -> Tensor:
    return _images(next(iter(case.task.train_batches(batch, seed))))


def _images(batch: dict[str, Tensor] | tuple[Tensor, Tensor]) -> Tensor:
    return batch["img"] if isinstance(batch, dict) else batch[0]


def test_the_task_says_what_it_is(case: Case) -> None:
    info = check_data(case.kind, case.data)
    assert isinstance(case.task, Task)
    assert case.task.columns[0] == case.task.metric
    assert (case.task.num_classes, case.task.train_images) == (info.num_classes, info.train_images)
    assert info.val_images > 0
    assert case.task.to(CPU) is case.task


def test_an_epoch_holds_every_image_once_in_square_batches(case: Case) -> None:
    sizes = [_images(batch).shape for batch in case.task.train_batches(50, 0)]
    assert sum(shape[0] for shape in sizes) == case.task.train_images
    assert {tuple(shape[1:]) for shape in sizes} == {(3, case.task.imgsz, case.task.imgsz)}


def test_batches_depend_on_the_seed_alone(case: Case) -> None:
    first = _first(case, 5)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    again = _first(case, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, _first(case, 6))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_calibration_images_are_the_same_each_time(case: Case) -> None:
    one, two = (torch.cat(list(case.task.calibration_images(20))) for _ in range(2))
    assert one.shape == (20, 3, case.task.imgsz, case.task.imgsz)
    assert torch.equal(one, two)
    assert len({image.sum().item() for image in one}) == 20
    everything = sum(len(part) for part in case.task.calibration_images(10**6))
    assert everything == case.task.train_images


def test_examples_are_images_like_those_trained_on(case: Case) -> None:
    example = case.task.example(3)
    assert example.shape == (3, 3, case.task.imgsz, case.task.imgsz)
    assert not torch.equal(example[0], example[1])
    reference = torch.cat(list(case.task.calibration_images(64)))
    assert abs(example.mean() - reference.mean()) < 0.5 * reference.std()


def _learn(task: Task, model: nn.Module, steps: int) -> list[float]:
    """Take steps on one batch of 8 images; give the losses."""
    task.attach(model)
    batch = next(iter(task.train_batches(8, 0)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = task.loss(model.train(), batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def test_training_lowers_the_loss(case: Case) -> None:
    losses = _learn(case.task, case.model(), steps=8)
    assert np.isfinite(losses).all()
    # Not the first loss: before anything is matched, YOLOv8's is a small number over a clamped 1.
    assert losses[-1] < 0.8 * max(losses)


def test_the_loss_is_a_mean_over_images(case: Case) -> None:
    """Twice the same batch has the loss of one; in eval mode, where images do not influence each other."""
    if case.kind == "detect":
        pytest.skip("Ultralytics divides by the matched objects of the batch")
    model = case.model().eval()
    images, labels = next(iter(case.task.train_batches(4, 0)))
    one = case.task.loss(model, (images, labels))
    two = case.task.loss(model, (images.repeat(2, 1, 1, 1), labels.repeat(2)))
    torch.testing.assert_close(one, two)


def test_scores_repeat_and_need_no_training_mode(case: Case) -> None:
    model = case.model()
    first = score_model(model, case.task, 32)
    assert tuple(first.values) == case.task.columns
    assert all(0 <= value <= 1 for value in first.values.values())
    assert case.task.evaluate(model) == first
    assert not model.training


def test_a_score_comes_with_its_spread(case: Case) -> None:
    """As large as a score could vary with so few images, and written under the columns of trials.csv."""
    task = case.task
    model = case.model()
    _learn(task, model, steps=12)
    score = score_model(model, task, 24)
    assert set(score.std) == set(score.values)
    assert all(0 <= spread < 0.3 for spread in score.std.values())
    assert score.value == 0 or score.std[task.metric] > 1e-4
    assert score.columns[f"{task.metric}_std"] == score.std[task.metric]


@pytest.mark.parametrize("case", ["cells"], indirect=True)
def test_a_slow_machine_scores_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics' suppression of overlapping boxes gives up on the rest of a batch after some seconds."""
    torch.manual_seed(0)
    model = case.model()
    _learn(case.task, model, steps=16)
    expected = score_model(model, case.task, 24)
    assert expected.values["map50"] > 0.01
    clock = itertools.count(step=60)
    slow = SimpleNamespace(time=lambda: next(clock))
    monkeypatch.setattr("ultralytics.utils.nms.time", slow)
    assert case.task.evaluate(model) == expected


@pytest.mark.parametrize("case", ["cells"], indirect=True)
def test_map_equals_ultralytics(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that has learnt a few of its validation images, scored by `YOLO.val` and by the task."""
    from ultralytics import YOLO

    monkeypatch.setattr("ultralytics.data.utils.check_font", lambda font: None)
    assert case.data is not None
    root = Path(case.data).parent
    content = yaml.safe_load(Path(case.data).read_text()) | {"val": "images/train"}
    data = root / "same.yaml"
    data.write_text(yaml.safe_dump(content))
    task = open_task("detect", str(data), imgsz=96, device=CPU)
    torch.manual_seed(0)
    model = get_network("yolov8n").build(3)
    _learn(task, model, steps=16)
    score = score_model(model, task, 24)

    yolo = YOLO("yolov8n.yaml", verbose=False)
    yolo.model = model
    theirs = yolo.val(
        data=str(data), imgsz=96, device="cpu", plots=False, verbose=False, project=str(tmp_path)
    )
    assert score.values["map50_95"] > 0.02
    assert score.values["map50_95"] == pytest.approx(theirs.box.map, abs=1e-4)
    assert score.values["map50"] == pytest.approx(theirs.box.map50, abs=1e-4)


@pytest.mark.parametrize("case", ["cells"], indirect=True)
def test_the_users_folder_is_not_written_to(case: Case, tmp_path: Path) -> None:
    assert case.data is not None
    root = shutil.copytree(Path(case.data).parent, tmp_path / "copy")
    for cache in root.rglob("*.cache"):
        cache.unlink()
    before = sorted(root.rglob("*"))
    task = open_task("detect", str(root / "data.yaml"), imgsz=96, device=CPU)
    task.evaluate(case.model())
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("case", ["cells", "signs"], indirect=True)
def test_a_training_repeats_to_the_last_bit(case: Case) -> None:
    """Trial by trial, whatever was drawn from the global generators before."""
    schedule = Schedule(2, rungs=(1,), calibration=16)
    scores, weights = [], []
    for junk in range(2):
        model = case.model()
        random.seed(junk), np.random.seed(junk), torch.manual_seed(junk)
        scores.append(train(model, case.task, schedule, seed=3).score)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert scores[0] == scores[1]


def test_importing_tasks_does_not_import_ultralytics() -> None:
    """Data is checked, and refused, before anything slow is imported."""
    code = (
        "import sys, spnas.tasks; sys.exit('ultralytics' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("name", ["yolo11n", "yolo12n"])
def test_the_same_task_trains_and_scores_other_yolo_families(name: str) -> None:
    task = open_task("detect", None, imgsz=96, device=CPU)
    torch.manual_seed(0)
    model = get_network(name).build(task.num_classes).train()
    task.attach(model)
    task.loss(model, next(iter(task.train_batches(8, 0)))).backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert all("dfl" in key for key in idle), idle
    assert set(task.evaluate(model).values) == {"map50_95", "map50"}
