"""`spnas profile` through the command line's entry point."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import spnas.latency
import spnas.networks
from spnas.architecture import Architecture
from spnas.cli import main
from spnas.latency import Measurement, count, measure
from spnas.networks import deploy_model, get_network, load_model, model_document

FAST = ["--space", "resnet20-cifar", "--device", "cpu"]


def profiled(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["profile", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def write_model(
    path: Path, choices: dict[str, str], forms: dict[str, str] | None = None, **metrics: int
) -> Path:
    document = model_document(get_network("resnet20-cifar"), 7, Architecture(choices), forms)
    path.write_text(yaml.safe_dump(document | {"metrics": metrics}, explicit_end=True))
    return path


def test_uniform_of_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    found = profiled(capsys, *FAST, "--uniform", "spconv:0.5")
    # Those of ResNet-20 and of its SPConv form in the SPConv paper.
    assert (found["params"], found["base_params"]) == (105_082, 272_474)
    assert found["macs"] < found["base_macs"]
    assert found["latency_ms"] > 0
    assert found["base_latency_ms"] > 0
    assert found["latency_ratio"] > 0
    assert found["memory_mb"] > 4e-6 * found["params"] / 2
    assert found["base_memory_mb"] > 4e-6 * found["base_params"]
    for name in ("latency_std_ms", "base_latency_std_ms", "latency_ratio_std"):
        assert found[name] >= 0
    assert found["latency_ratio_low"] <= found["latency_ratio"] <= found["latency_ratio_high"]
    assert (found["device"], found["threads"], found["clock"]) == ("cpu", 1, "thread_cpu")
    assert (found["imgsz"], found["batch"], found["replaced_sites"]) == (32, 32, 18)
    assert 0 < found["max_relative_error"] < 1e-9
    assert (found["runtime"], found["dtype"]) == ("onnxruntime", "float32")
    assert 0 < found["max_error"] < 1e-4


def test_space_alone_is_the_base_beside_itself(capsys: pytest.CaptureFixture[str]) -> None:
    found = profiled(capsys, *FAST, "--batch", "2", "--imgsz", "17", "--threads", "2")
    assert (found["params"], found["macs"]) == (found["base_params"], found["base_macs"])
    assert found["replaced_sites"] == 0
    assert (found["imgsz"], found["batch"], found["threads"]) == (17, 2, 2)
    assert found["clock"] == "wall"


def test_model_yaml_is_profiled_as_it_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    choices, forms = {"layer1.0.conv1": "spconv:0.5"}, {"layer1.0.conv1": "gate-between"}
    path = write_model(tmp_path / "found.yaml", choices, forms, imgsz=24)
    found = profiled(capsys, str(path), "--device", "cpu")
    counts = count(load_model(path), 24)
    assert (found["params"], found["macs"]) == (counts.params, counts.macs)
    base = count(get_network("resnet20-cifar").build(7), 24)
    assert (found["base_params"], found["base_macs"]) == (base.params, base.macs)
    assert (found["replaced_sites"], found["imgsz"]) == (1, 24)


def test_runtime_is_the_one_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = profiled(capsys, *FAST, "--batch", "1", "--runtime", "torch-bf16")
    assert (found["runtime"], found["dtype"]) == ("torch-bf16", "bfloat16")
    assert 1e-4 < found["max_error"] < 0.1


@pytest.mark.parametrize("uniform", [[], ["--uniform", "ghost:0.5"]])
def test_yolo_is_profiled(capsys: pytest.CaptureFixture[str], uniform: list[str]) -> None:
    found = profiled(capsys, "--space", "yolov8n", "--imgsz", "64", "--device", "cpu", *uniform)
    assert found["base_params"] == 3_157_200
    assert found["max_relative_error"] < 1e-9
    assert (found["params"] < found["base_params"]) is bool(uniform)


def test_plain_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *FAST, "--uniform", "ghost:0.5"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    for word in (
        "params",
        "macs",
        "memory_mb",
        "latency_ms",
        "ratio",
        "272,474",
        "thread_cpu",
        "1 thread",
        "95%",
    ):
        assert word in out


def test_what_disturbed_the_measurement_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(*args: Any, **options: Any) -> Measurement:
        return replace(measure(*args, **options), warning="another process")

    monkeypatch.setattr(spnas.latency, "measure", disturbed)
    assert main(["profile", *FAST]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "warning: another process"


def test_a_wrong_deployed_form_gives_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: nn.Module) -> nn.Module:
        deployed = deploy_model(model)
        with torch.no_grad():
            next(deployed.parameters()).mul_(1.001)
        return deployed

    monkeypatch.setattr(spnas.networks, "deploy_model", wrong)
    assert main(["profile", *FAST]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the deployed form is wrong" in captured.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected either a model yaml or --space, got neither"),
        (["a.yaml", "--space", "resnet18"], "expected either a model yaml or --space, got both"),
        (["a.yaml", "--uniform", "ghost:0.5"], "--uniform: goes with --space"),
        (["a.yaml"], "a.yaml"),
        (["--space", "yolov9"], "unknown search space 'yolov9'"),
        ([*FAST, "--uniform", "spconv:0.3"], "expected one of: regular, ghost:0.5"),
        ([*FAST, "--uniform", "spconv:half"], "expected a choice such as 'regular'"),
        ([*FAST, "--imgsz", "0"], "--imgsz: expected a number above 0, got 0"),
        ([*FAST, "--batch", "-1"], "--batch: expected a number above 0, got -1"),
        ([*FAST, "--threads", "0"], "--threads: expected a number above 0, got 0"),
        ([*FAST, "--runtime", "abacus"], "unknown runtime 'abacus', expected one of: cuda-graph"),
        ([*FAST, "--runtime", "tensorrt"], "runtime tensorrt does not run on cpu"),
        (["--space", "yolov8n", "--imgsz", "100", "--device", "cpu"], "a multiple of 32"),
        ([*FAST[:2], "--device", "abacus"], "device 'abacus' is not available"),
    ],
)
def test_bad_input_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["profile", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("spnas: error: ")
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *FAST[:2], "--device", "cuda"]) == 2
    assert "device 'cuda' is not available, this machine has: " in capsys.readouterr().err
