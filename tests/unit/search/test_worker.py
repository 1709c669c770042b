"""A real evaluator on a few images; only Ray, the process boundary, is replaced."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from spnas.architecture import Architecture
from spnas.errors import DeviceError, DeviceLostError, TrainingError
from spnas.latency import Measurement, measure
from spnas.networks import get_network
from spnas.search import bench, preparation, worker
from spnas.search.adapters import CoordinatedSearcher
from spnas.search.coordinator import Coordinator
from spnas.search.limits import Limits
from spnas.search.objective import Evaluation, Evaluator, TrialSettings
from spnas.search.preparation import save_weights, train_base
from spnas.tasks.classification import ClassificationTask
from spnas.training import Schedule

GHOST = Architecture({"layer3.0.conv2": "ghost:0.5"})


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrialSettings:
    """Two classes of noise, bright and dark, and a base network with fresh weights."""
    folder = tmp_path_factory.mktemp("worker")
    rng = np.random.default_rng(0)
    for split, number in (("train", 24), ("val", 8)):
        for name, low in (("dark", 0), ("light", 120)):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(low, low + 120, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    torch.manual_seed(0)
    save_weights(get_network("resnet20-cifar").build(2), folder / "base.pt")
    return TrialSettings(
        network="resnet20-cifar",
        kind="classify",
        data=str(folder),
        num_classes=2,
        imgsz=16,
        device="cpu",
        threads=1,
        seed=0,
        weights=str(folder / "base.pt"),
        schedule=Schedule(epochs=2, rungs=(1,), batch_size=16),
        base_latency_ms=2.0,
    )


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a worker tells Ray."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(worker.tune, "report", told.append)
    return told


def task(architecture: Architecture = Architecture(), **more: Any) -> dict[str, Any]:  # noqa: B008
    """What a worker is given."""
    return {"trial": 1, "architecture": architecture.text, "timeout_s": 300, **more}


def test_reports_rung_and_end(settings: TrialSettings, reports: list[dict[str, Any]]) -> None:
    worker.evaluate_trial(task(GHOST), settings)
    rung, end = (json.loads(report["evaluation"]) for report in reports)
    assert [report["final"] for report in reports] == [False, True]
    assert (rung["epochs"], end["epochs"]) == (1, 2)
    assert rung["latency_ms"] == end["latency_ms"] == pytest.approx(2.0 * end["latency_ratio"])
    assert end["params"] < Evaluator(settings).count(Evaluator(settings).base).params
    assert 0 <= end["scores"]["top1"] <= 1


def train_seeds(settings: TrialSettings, seed: int) -> torch.Tensor:
    """Give the first weights after a re-evaluation's training with this seed."""
    evaluator = Evaluator(settings)
    models: list[torch.nn.Module] = []
    assemble = evaluator.assemble

    def keep(*args: Any) -> torch.nn.Module:
        models.append(assemble(*args))
        return models[-1]

    evaluator.assemble = keep  # type: ignore[method-assign]
    evaluator.confirm(GHOST, seed, latency=False)
    return next(models[0].parameters()).detach()


def test_a_reevaluation_has_the_seed_it_is_given(
    settings: TrialSettings, reports: list[dict[str, Any]]
) -> None:
    longer = dataclasses.replace(settings, schedule=Schedule(epochs=3, batch_size=16))
    for seed, latency in ((0, True), (1, False), (1, False)):
        worker.evaluate_trial(task(GHOST, seed=seed, latency=latency), longer)
    first, other, same = (json.loads(report["evaluation"]) for report in reports)
    assert [e["epochs"] for e in (first, other, same)] == [3, 3, 3]
    assert first["latency_ratio"] > 0
    assert other["latency_ratio"] is None
    assert other["scores"] == same["scores"]
    trained = [train_seeds(longer, seed) for seed in (0, 1)]
    assert not torch.equal(*trained)


def test_a_diverging_trial_is_told_and_the_worker_lives_on(
    settings: TrialSettings, reports: list[dict[str, Any]]
) -> None:
    wild = dataclasses.replace(settings, schedule=Schedule(epochs=2, batch_size=16, lr=1e30))
    worker.evaluate_trial(task(), wild)
    assert reports[0]["final"]
    assert reports[0]["evaluation"] == ""
    assert reports[0]["error"].startswith("TrainingError: the loss is")
    worker.evaluate_trial(task(), settings)
    assert reports[-1]["error"] == ""


class Full:
    """A loss for which the device's memory does not suffice, so many times, where a batch is larger than this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, batch: int = 0) -> None:
        self.sizes: list[int] = []
        loss = ClassificationTask.loss

        def fail(task: ClassificationTask, model: torch.nn.Module, batch_: Any) -> torch.Tensor:
            self.sizes.append(len(batch_[0]))
            if len(batch_[0]) > batch and len(self.sizes) <= times:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return loss(task, model, batch_)

        monkeypatch.setattr(ClassificationTask, "loss", fail)


def test_out_of_memory_halves_the_batch_once_and_the_record_says_so(
    settings: TrialSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved = dataclasses.replace(settings, schedule=Schedule(epochs=2, rungs=(1,), batch_size=8))
    expected = Evaluator(halved).confirm(GHOST, seed=0, latency=False)
    full = Full(monkeypatch, times=1)
    result = Evaluator(settings).confirm(GHOST, seed=0, latency=False)
    assert full.sizes == [16] + [8] * 12
    assert (result.batch, expected.batch, result.epochs) == (8, 8, 2)
    assert result.scores == expected.scores  # from the start: nothing is left of the first attempt


def test_out_of_memory_with_half_the_batch_is_a_failed_trial(
    settings: TrialSettings, reports: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Full(monkeypatch, times=2)
    task = {"trial": 1, "architecture": GHOST.text, "seed": 0, "latency": False, "timeout_s": 300}
    worker.evaluate_trial(task, settings)
    assert full.sizes == [16, 8]
    assert [report["error"] for report in reports] == [
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    ]


@pytest.mark.parametrize("batch", [2, 3])
def test_out_of_memory_with_a_batch_that_has_no_half_is_told_as_that(
    batch: int, settings: TrialSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Full(monkeypatch, times=9)
    small = dataclasses.replace(settings, schedule=Schedule(epochs=1, batch_size=batch))
    with pytest.raises(torch.OutOfMemoryError):
        Evaluator(small).confirm(GHOST, seed=0, latency=False)


def test_the_base_network_trains_with_half_the_batch_too(
    settings: TrialSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Full(monkeypatch, times=99, batch=8)
    trained = dataclasses.replace(settings, weights=str(tmp_path / "trained.pt"))
    assert train_base(trained, Schedule(epochs=1, batch_size=16), weights=None)["batch"] == 8


class Gone:
    """A bench whose node is gone."""

    def measure(self, *_: Any) -> NoReturn:
        raise DeviceLostError("node:jetson is gone")


def test_a_trial_whose_node_is_lost_is_run_again_once(
    settings: TrialSettings,
    reports: list[dict[str, Any]],
    make_coordinator: Callable[..., Coordinator],
) -> None:
    lost = dataclasses.replace(settings, seed=7)  # another evaluator than the other tests'
    worker.evaluate_trial(task(GHOST), lost, Gone())
    (told,) = reports
    assert (told["lost"], told["error"]) == (True, "node:jetson is gone")
    coordinator = make_coordinator()
    searcher = CoordinatedSearcher(coordinator)
    first = searcher.suggest("a")
    searcher.on_trial_complete("a", told)
    assert coordinator.records == []
    assert searcher.suggest("b") == first
    searcher.on_trial_complete("b", told)
    assert [(r.state, r.error) for r in coordinator.records] == [
        ("failed", "twice: node:jetson is gone")
    ]


def test_latency_may_be_measured_on_another_device_of_the_worker(settings: TrialSettings) -> None:
    """As on a CPU beside a training on CUDA; the meta device stands for one that has no data and no clock."""
    elsewhere = dataclasses.replace(settings, latency_device="meta")
    evaluator = Evaluator(elsewhere)
    with pytest.raises(DeviceError, match="device 'meta' is not available"):
        evaluator.measure(evaluator.base, Evaluation())
    here = Evaluator(dataclasses.replace(elsewhere, latency_device="cpu", runtime="torch"))
    assert here.measure(here.base, Evaluation()).latency_ms > 0


def test_equal_trials_score_equally(settings: TrialSettings) -> None:
    first, second = (Evaluator(settings).evaluate(GHOST, lambda _: True) for _ in range(2))
    assert first.scores == second.scores


def test_stops_where_the_report_says_so(settings: TrialSettings) -> None:
    seen: list[Evaluation] = []

    def stop(evaluation: Evaluation) -> bool:
        seen.append(evaluation)
        return False

    assert Evaluator(settings).evaluate(GHOST, stop).epochs == 1
    assert [evaluation.epochs for evaluation in seen] == [1]


def test_a_slow_candidate_is_not_trained(settings: TrialSettings) -> None:
    strict = dataclasses.replace(settings, limits=Limits(latency_ratio=0.01))
    result = Evaluator(strict).evaluate(GHOST, lambda _: True)
    assert (result.epochs, result.scores) == (0, {})
    assert result.latency_ratio > 0.01
    assert result.params > 0


@pytest.mark.parametrize("limits", [Limits(params=100_000), Limits(macs=100_000)])
def test_a_candidate_that_is_too_large_is_not_even_measured(
    settings: TrialSettings, limits: Limits
) -> None:
    strict = dataclasses.replace(settings, limits=limits)
    result = Evaluator(strict).evaluate(GHOST, lambda _: True)
    assert (result.latency_ms, result.scores) == (None, {})
    assert limits.exceeded(result)


def test_the_base_is_trained_whatever_the_limits(settings: TrialSettings) -> None:
    strict = dataclasses.replace(settings, limits=Limits(latency_ratio=0.01, params=1))
    result = Evaluator(strict).evaluate(Architecture(), lambda _: True)
    assert result.epochs == 2
    assert "top1" in result.scores


def test_what_disturbed_a_measurement_is_told_with_the_trial(
    settings: TrialSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(*args: Any, **options: Any) -> Measurement:
        return dataclasses.replace(measure(*args, **options), warning="another process")

    monkeypatch.setattr(bench, "measure", disturbed)
    strict = dataclasses.replace(settings, limits=Limits(latency_ratio=0.01))
    assert Evaluator(strict).evaluate(GHOST, lambda _: True).latency_warning == "another process"


def test_the_base_has_the_ratio_one(settings: TrialSettings) -> None:
    result = Evaluator(settings).evaluate(Architecture(), lambda _: True)
    assert (result.latency_ratio, result.latency_ms) == (1.0, 2.0)
    assert 4e-6 * result.params < result.memory_mb < 8e-6 * result.params


def test_the_base_is_trained_or_taken(settings: TrialSettings, tmp_path: Path) -> None:
    trained = dataclasses.replace(settings, weights=str(tmp_path / "trained.pt"))
    facts = train_base(trained, Schedule(epochs=2, batch_size=16), weights=None)
    assert facts["scores"]["top1"] > 0.5
    assert facts["latency_ms"] > 0
    assert facts["params"] == Evaluator(settings).count(Evaluator(settings).base).params
    taken = dataclasses.replace(settings, weights=str(tmp_path / "taken.pt"))
    assert train_base(taken, None, weights=settings.weights)["scores"] is None
    original, copied = torch.load(settings.weights), torch.load(taken.weights)
    assert all(torch.equal(original[name], copied[name]) for name in original)


def test_the_base_is_trained_from_weights_of_other_classes(
    settings: TrialSettings, tmp_path: Path
) -> None:
    other = get_network("resnet20-cifar").build(settings.num_classes + 1)
    given = {
        name: tensor
        for name, tensor in torch.load(settings.weights).items()
        if not name.startswith("fc.")
    }
    other.load_state_dict(given, strict=False)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    trained = dataclasses.replace(settings, weights=str(tmp_path / "trained.pt"))
    gently = Schedule(epochs=1, batch_size=16, lr=1e-6)
    facts = train_base(trained, gently, weights=str(tmp_path / "other.pt"))
    assert facts["train_s"] > 0
    written = torch.load(trained.weights)
    assert written["fc.bias"].shape == (settings.num_classes,)
    torch.testing.assert_close(
        written["layer3.2.conv2.weight"], given["layer3.2.conv2.weight"], rtol=0, atol=1e-4
    )


def test_a_trial_on_fewer_threads_is_timed_and_changes_nothing(
    settings: TrialSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[str, torch.Tensor]] = []
    cost = preparation._cost

    def watched(model: nn.Module, *more: Any) -> dict[str, Any]:
        measured.append(copy.deepcopy(model.state_dict()))
        return cost(model, *more)

    monkeypatch.setattr(preparation, "_cost", watched)
    trained = dataclasses.replace(settings, weights=str(tmp_path / "base.pt"), threads=1)
    facts = train_base(trained, Schedule(epochs=1, batch_size=16), weights=None, threads=2)
    assert facts["train_s"] <= facts["trial_train_s"] < 60
    written = torch.load(trained.weights)
    assert all(torch.equal(written[name], measured[0][name]) for name in written)


def test_a_base_whose_trials_cannot_be_timed_is_kept(
    settings: TrialSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> float:
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(preparation, "step_seconds", fails)
    taken = dataclasses.replace(settings, weights=str(tmp_path / "taken.pt"), threads=1)
    facts = train_base(taken, None, weights=settings.weights, threads=2)
    assert facts["trial_train_s"] is None


def test_the_driver_hears_of_each_epoch_of_the_base(
    settings: TrialSettings, tmp_path: Path
) -> None:
    trained = dataclasses.replace(settings, weights=str(tmp_path / "trained.pt"))
    events = worker.stream_base(trained, Schedule(epochs=3, batch_size=16), None)
    *epochs, facts = (event for event in events if event is not None)
    assert [number for number, _ in epochs] == [1, 2, 3]
    assert epochs[-1][1] < epochs[0][1]
    assert facts["latency_ms"] > 0
    assert Path(trained.weights).is_file()


def test_an_error_in_the_base_reaches_the_driver(settings: TrialSettings, tmp_path: Path) -> None:
    broken = dataclasses.replace(settings, weights=str(tmp_path / "diverged.pt"))
    with pytest.raises(TrainingError, match="at epoch 1"):
        list(worker.stream_base(broken, Schedule(epochs=2, lr=1e30), None))
    assert not Path(broken.weights).exists()
