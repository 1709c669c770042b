"""The Ultralytics face inside one process; tests/e2e/test_ultralytics.py runs it in fresh ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER

import spnas
from spnas.architecture import Architecture
from spnas.errors import ArchitectureError, InputError, ModelFileError
from spnas.networks import get_network, load_model, model_document
from spnas.runs.model_yaml import write_model_yaml
from spnas.ultralytics import SpnasDetectionModel

HEAD = Architecture({"model.3": "spconv:0.25", "model.22.cv3.1.0": "ghost:0.5"})


@pytest.fixture
def found(tmp_path: Path) -> Path:
    # A name that Ultralytics reads a scale from, and the wrong one.
    path = tmp_path / "yolov8x-found.yaml"
    write_model_yaml(path, model_document(get_network("yolov8n"), 3, HEAD))
    return path


def equal(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


def operators(model: nn.Module) -> dict[str, str]:
    return {site: type(model.get_submodule(site)).__name__ for site in HEAD}


def test_plain_models_are_as_without_spnas() -> None:
    torch.manual_seed(0)
    stock = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    torch.manual_seed(0)
    ours = SpnasDetectionModel("yolov8n.yaml", nc=3, verbose=False)
    assert equal(stock, ours)
    assert stock.yaml == ours.yaml
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(stock.eval()(image)[0], ours.eval()(image)[0])


@pytest.mark.parametrize("make", [ultralytics.YOLO, spnas.YOLO])
def test_a_found_yaml_has_its_scale_and_operators(make: type, found: Path) -> None:
    torch.manual_seed(0)
    model = make(found).model
    torch.manual_seed(0)
    assert equal(model, load_model(found))
    assert operators(model) == {"model.3": "SPConv", "model.22.cv3.1.0": "Ghost"}
    assert model.yaml["backbone"][0][2] == "Conv (needs: import spnas.ultralytics)"
    assert model.task == "detect"


def test_rebuilding_from_the_models_own_yaml_keeps_everything(found: Path) -> None:
    model = spnas.YOLO(found).model
    again = SpnasDetectionModel(model.yaml, nc=5, verbose=False)
    assert operators(again) == operators(model)
    assert again.yaml["nc"] == 5
    with pytest.raises(KeyError, match=r"needs: import spnas\.ultralytics"):
        DetectionModel(model.yaml, verbose=False)


def test_a_stock_model_after_surgery_is_rebuilt_with_its_operators() -> None:
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    spnas.networks.apply_architecture(model, HEAD)
    assert operators(SpnasDetectionModel(model.yaml, verbose=False)) == operators(model)


@pytest.mark.parametrize("name", ["yolo11s", "yolo12n"])
def test_other_families_are_rebuilt_as_what_they_are(name: str, tmp_path: Path) -> None:
    three = Architecture({"model.3": "spconv:0.25"})
    write_model_yaml(tmp_path / "a.yaml", model_document(get_network(name), 3, three))
    stock = DetectionModel(f"{name}.yaml", nc=3, verbose=False)
    spnas.networks.apply_architecture(stock, three)
    assert stock.yaml["spnas"]["base"] == name
    shapes = [
        {key: value.shape for key, value in model.state_dict().items()}
        for model in (stock, spnas.YOLO(tmp_path / "a.yaml").model, SpnasDetectionModel(stock.yaml))
    ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_a_network_that_is_not_ours_is_not_taken_for_one() -> None:
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    spnas.networks.apply_architecture(model, Architecture({"model.3": "spconv:0.25"}))
    with pytest.raises(ModelFileError, match=r"spnas\.base: unknown network 'yolo26n'"):
        SpnasDetectionModel(model.yaml, verbose=False)


def test_plain_weights_are_inherited_as_by_surgery(found: Path) -> None:
    model = spnas.YOLO(found).model
    torch.manual_seed(1)
    base = get_network("yolov8n").build(3)
    model.load(base, verbose=False)
    assert equal(model, spnas.networks.apply_architecture(base, HEAD))


def test_weights_of_the_same_architecture_are_copied(found: Path) -> None:
    first, second = spnas.YOLO(found).model, load_model(found)
    assert not equal(first, second)
    first.load({"model": second, "ema": None}, verbose=False)
    assert equal(first, second)


def test_a_runs_files_of_tensors_are_loaded(found: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    base = get_network("yolov8n").build(3)
    torch.save(base.state_dict(), tmp_path / "base.pt")
    expected = spnas.networks.apply_architecture(base, HEAD)
    model = spnas.YOLO(found).load(tmp_path / "base.pt")
    assert equal(model.model, expected)
    assert model.ckpt  # without it, Ultralytics' train() would begin with fresh weights
    torch.save(expected.state_dict(), tmp_path / "own.pt")
    assert equal(spnas.YOLO(found).load(str(tmp_path / "own.pt")).model, expected)
    torch.save(get_network("resnet20-cifar").build(3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt is for another network"):
        model.load(tmp_path / "other.pt")


def test_what_is_printed_of_a_model_is_its_own(
    found: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger=LOGGER.name):
        model = SpnasDetectionModel(str(found), verbose=True)
    assert "yolov8n with ghost:0.5 at 1 site, spconv:0.25 at 1 site" in caplog.text
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in caplog.text


def test_weights_of_another_architecture_are_refused(found: Path) -> None:
    other = get_network("yolov8n").build(3)
    spnas.networks.apply_architecture(other, Architecture({"model.5": "ghost:0.5"}))
    plain = SpnasDetectionModel("yolov8n.yaml", nc=3, verbose=False)
    for model in (spnas.YOLO(found).model, plain):
        with pytest.raises(ArchitectureError, match=r"got those of .*model\.5=ghost:0\.5"):
            model.load(other, verbose=False)


def test_fusing_equals_and_leaves_no_batchnorm(found: Path) -> None:
    model = spnas.YOLO(found).model
    images = torch.rand(4, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0

    def output() -> Tensor:
        result: Tensor = model.eval()(images)[0]
        return result

    with torch.no_grad():
        model.train()(images)
        before = output()
        model.train().fuse(verbose=False)
        after = output()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [ultralytics.YOLO, spnas.YOLO])
def test_a_yaml_that_would_run_code_is_refused(make: type, found: Path) -> None:
    found.write_text(found.read_text().replace("nc: 3", "nc: 3\nactivation: nn.Tanh()"))
    with pytest.raises(ModelFileError, match=r"yolov8x-found\.yaml: activation: unknown key"):
        make(found)


def test_a_truncated_yaml_is_told_by_name(found: Path) -> None:
    text = found.read_text()
    found.write_text(text[: text.index("spnas:\n")])
    with pytest.raises(ModelFileError, match=r"yolov8x-found\.yaml"):
        spnas.YOLO(found)


def test_a_classifier_is_not_for_yolo(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write_model_yaml(path, model_document(get_network("resnet18"), 3, Architecture()))
    with pytest.raises(ModelFileError, match=r"a\.yaml.*resnet18 is no detection network"):
        spnas.YOLO(path, task="detect")


def test_importing_changes_no_thread_setting(repo_root: Path) -> None:
    script = (
        "import os, torch; before = torch.get_num_threads(); import spnas.ultralytics; "
        "print(before == torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS'), "
        "os.environ['YOLO_OFFLINE'], os.environ['YOLO_AUTOINSTALL'])"
    )
    gone = ("OMP_NUM_THREADS", "YOLO_OFFLINE", "YOLO_AUTOINSTALL")
    environment = {key: value for key, value in os.environ.items() if key not in gone}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment | {"PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "None", "true", "false"]
