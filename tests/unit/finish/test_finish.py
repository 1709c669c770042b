"""A classification network after the search: trained, scored, exported, each file checked and timed."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

import spnas
from spnas.errors import ConfigError, InputError, RunError, SpnasError
from spnas.finish import Trained, export_model, resume_training, train_model, validate_model
from spnas.finish.model import find_model
from spnas.finish.start import starting_model
from spnas.networks import apply_architecture, get_network, load_base_weights, load_model
from spnas.operators.ghost import Ghost
from spnas.runs import RunDirectory

from .conftest import GHOSTS


def found_yaml(run: RunDirectory) -> Path:
    return run.pareto_dir / "00-found.yaml"


@pytest.fixture(scope="module")
def trained(run: RunDirectory) -> Trained:
    return train_model(found_yaml(run), epochs=2, device="cpu")


def test_training_starts_from_the_weights_inherited_from_the_runs_base(run: RunDirectory) -> None:
    model, told = starting_model(find_model(found_yaml(run)), 10)
    base = get_network("resnet20-cifar").build(10)
    load_base_weights(base, run.base_weights)
    expected = apply_architecture(base, GHOSTS).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert told == f"weights inherited from {run.base_weights}"
    fresh, told = starting_model(find_model(found_yaml(run)), 10, scratch=True)
    assert told == "fresh weights"
    assert not torch.equal(fresh.state_dict()["conv1.weight"], expected["conv1.weight"])


def test_operators_that_the_search_fitted_are_used_for_the_runs_classes(
    run: RunDirectory, tmp_path: Path
) -> None:
    found = find_model(found_yaml(run))
    operator = load_model(found.path).get_submodule("layer1.0.conv1").state_dict()
    fitted = {name: torch.full_like(value, 0.25) for name, value in operator.items()}
    torch.save({"layer1.0.conv1|ghost:0.5": fitted}, run.library)
    try:
        model, told = starting_model(found, 10)
        other, told_of_other = starting_model(found, 7)
    finally:
        run.library.unlink()
    assert told.endswith("operators from library.pt")
    own = model.get_submodule("layer1.0.conv1").state_dict()
    assert all(torch.equal(own[name], value) for name, value in fitted.items())
    assert "library" not in told_of_other
    own = other.get_submodule("layer1.0.conv1").state_dict()
    assert not torch.equal(own["primary.weight"], fitted["primary.weight"])


def test_a_training_leaves_all_that_the_next_steps_need(
    run: RunDirectory, trained: Trained
) -> None:
    assert trained.folder == run.trained_dir / "00-found"
    rows = pd.read_csv(trained.folder / "results.csv")
    assert rows["epoch"].tolist() == [1, 2]
    assert trained.scores["top1"] == pytest.approx(rows["top1"].max())
    args = yaml.safe_load((trained.folder / "args.yaml").read_text())
    assert (args["imgsz"], args["epochs"], args["names"][3]) == (32, 2, "3")
    load_model(trained.folder / "model.yaml", weights=trained.weights)


def test_an_interrupted_training_goes_on_to_the_same_end(
    run: RunDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"epochs": 3, "device": "cpu"}
    whole = train_model(found_yaml(run), output=tmp_path / "whole", **options)

    def interrupt(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("epoch 2 of 3"):
            raise KeyboardInterrupt
        return True

    logger = logging.getLogger("spnas")
    logger.addFilter(interrupt)
    with caplog.at_level(logging.INFO, logger="spnas"), pytest.raises(KeyboardInterrupt):
        train_model(found_yaml(run), output=tmp_path / "cut", **options)
    logger.removeFilter(interrupt)
    assert caplog.messages[-1] == f"interrupted: `spnas train {tmp_path / 'cut'} --resume` goes on"

    checkpoint = tmp_path / "cut" / "weights" / "last.checkpoint"
    kept = checkpoint.read_bytes()
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"last\.checkpoint: expected where this training was inter"):
        resume_training(found_yaml(run), output=tmp_path / "cut")
    checkpoint.write_bytes(kept)
    with pytest.raises(RunError, match="cut holds a training: go on with it by --resume, or give"):
        train_model(found_yaml(run), output=tmp_path / "cut", **options)
    resumed = resume_training(tmp_path / "cut")
    assert resumed.scores == pytest.approx(whole.scores)
    tables = [pd.read_csv(one.folder / "results.csv") for one in (whole, resumed)]
    pd.testing.assert_frame_equal(*(table.drop(columns="train_s") for table in tables))
    states = [torch.load(one.weights, weights_only=True) for one in (whole, resumed)]
    for name, tensor in states[0].items():
        assert torch.equal(states[1][name], tensor), name
    assert [file.name for file in resumed.weights.parent.iterdir()] == ["best.pt"]


@pytest.mark.parametrize("name", ["pareto/00-found.yaml", "trained/00-found", "best.pt"])
def test_however_it_is_named_the_score_is_that_of_the_best_epoch(
    name: str, run: RunDirectory, trained: Trained
) -> None:
    path = trained.weights if name == "best.pt" else run.path / name
    scores = validate_model(path, device="cpu")
    assert scores["top1"] == pytest.approx(trained.scores["top1"], abs=1e-6)


def test_a_training_is_found_though_its_models_place_on_the_front_has_changed(
    run: RunDirectory, trained: Trained
) -> None:
    moved = run.pareto_dir / "03-found.yaml"
    moved.write_bytes(found_yaml(run).read_bytes())
    other = run.pareto_dir / "03-another.yaml"
    assert find_model(moved).folder == trained.folder
    assert find_model(moved, output="elsewhere").folder == Path("elsewhere")
    other.write_bytes(moved.read_bytes())
    assert find_model(other).folder == run.trained_dir / "03-another"
    moved.unlink()
    other.unlink()


@pytest.mark.parametrize("file_format", ["onnx", "openvino", "torchscript"])
def test_an_exported_file_is_the_deployed_form_and_computes_what_the_model_does(
    file_format: str, run: RunDirectory, trained: Trained
) -> None:
    exported = export_model(trained.folder, format=file_format, batch=2, latency=False)
    assert exported.path.parent == trained.weights.parent
    assert exported.max_error < 1e-4
    if file_format != "onnx":
        return
    graph = onnx.load(exported.path)
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    names = next(item.value for item in graph.metadata_props if item.key == "names")
    assert names.startswith("{0: '0', 1: '1'")
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    model = load_model(trained.folder / "model.yaml", weights=trained.weights).eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-4)


def test_a_size_that_a_measured_form_does_not_take_is_exported_in_another(
    run: RunDirectory, trained: Trained, tmp_path: Path
) -> None:
    """The form was chosen for maps of even size; at 50 px, of which a quarter is 25 here, it does not apply."""
    content = yaml.safe_load(found_yaml(run).read_text())
    content["spnas"]["sites"] = {"layer3.0.conv1": {"op": "spconv", "ratio": 0.5}}
    content["spnas"]["forms"] = {"layer3.0.conv1": "strided"}
    path = tmp_path / "strided.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    torch.save(load_model(path).state_dict(), tmp_path / "a.10.pt")
    weights = {"weights": tmp_path / "a.10.pt", "latency": False}
    assert export_model(path, imgsz=50, **weights).max_error < 1e-4
    assert (tmp_path / "a.10.onnx").is_file()  # and not a.onnx
    assert export_model(path, imgsz=64, **weights).max_error < 1e-4


def test_the_files_latency_is_measured_beside_the_bases(trained: Trained) -> None:
    measured = export_model(trained.folder, format="torchscript", batch=8).latency
    assert measured is not None
    assert (measured.runtime, measured.device, measured.threads) == ("torch", "cpu", 1)
    assert 0.2 < measured.ratio < 5


def test_a_file_that_computes_something_else_is_an_error_and_does_not_stay(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Ghost.deploy

    def wrong(self: Ghost) -> nn.Module:
        deployed = right(self)
        with torch.no_grad():
            next(deployed.parameters()).mul_(1.5)
        return deployed

    monkeypatch.setattr(Ghost, "deploy", wrong)
    trained.weights.with_suffix(".onnx").unlink(missing_ok=True)
    with pytest.raises(SpnasError, match="runtime onnxruntime: expected torch's float32 output"):
        export_model(trained.folder, latency=False)
    assert not trained.weights.with_suffix(".onnx").exists()


def test_what_cannot_be_done_is_told(run: RunDirectory, trained: Trained, tmp_path: Path) -> None:
    path = found_yaml(run)
    with pytest.raises(RunError, match="00-found holds a training: give another --output"):
        train_model(path)
    with pytest.raises(RunError, match="expected an interrupted training, found one that is compl"):
        resume_training(path)
    with pytest.raises(RunError, match="expected an interrupted training, found none"):
        resume_training(path, output=tmp_path / "a")
    with pytest.raises(ConfigError, match="lr0: settings of Ultralytics' trainer, which does not"):
        train_model(path, output=tmp_path / "a", lr0=0.1)
    with pytest.raises(ConfigError, match=r"--epochs: expected a number above 0, got 0"):
        train_model(path, output=tmp_path / "a", epochs=0)
    with pytest.raises(ConfigError, match=r"--batch: expected at least 2, got 1"):
        train_model(path, output=tmp_path / "a", batch=1)
    torch.save(load_model(path, num_classes=7).state_dict(), tmp_path / "other.pt")
    for command in (validate_model, export_model):
        with pytest.raises(InputError, match=r"other\.pt is for another number of classes than th"):
            command(path, weights=tmp_path / "other.pt")
    with pytest.raises(
        ConfigError, match=r"for resnet20-cifar, got 'onxx' \(did you mean onnx\?\)"
    ):
        export_model(path, format="onxx")
    with pytest.raises(ConfigError, match="openvino, torchscript for resnet20-cifar, got 'engine'"):
        export_model(path, format="engine")
    assert not (tmp_path / "a").exists()


def test_a_yaml_outside_a_run_needs_data_and_weights(run: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "lonely.yaml"
    path.write_bytes(found_yaml(run).read_bytes())
    with pytest.raises(RunError, match=r"--data: expected a data set, as .*lonely\.yaml"):
        train_model(path, output=tmp_path / "a")
    with pytest.raises(ConfigError, match="give them by --weights, or --scratch"):
        starting_model(find_model(path), 10)
    with pytest.raises(RunError, match=r"expected trained weights of .*lonely\.yaml, found none"):
        export_model(path)
    with pytest.raises(
        InputError, match=r"model\.yaml: expected the model yaml of .*, as `spnas train` writes it"
    ):
        validate_model(tmp_path / "runs" / "best.pt")
    with pytest.raises(InputError, match=r"run: this is a run, .* its pareto/: 00-found\.yaml"):
        validate_model(run.path)


def test_the_public_names_are_these() -> None:
    assert spnas.train_model is train_model
    assert spnas.export_model is export_model
