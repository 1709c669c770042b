"""What a search resolves before it starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import joblib
import pytest
import torch

from spnas.errors import ConfigError, DeviceError
from spnas.networks import get_network
from spnas.search import plan as plan_module
from spnas.search.config import SearchConfig
from spnas.search.plan import Plan, make_plan


def plan_of(**options: object) -> Plan:
    given = {"space": "resnet20-cifar", "budget": "1m", "device": "cpu", **options}
    return make_plan(SearchConfig.model_validate(given))


def on_cuda(plan: Plan, device: str, index: int) -> Plan:
    """Pretend: there is no CUDA device where tests run, and what is resolved is plain text."""
    config = plan.config.model_copy(update={"device": device})
    return dataclasses.replace(plan, config=config, device=torch.device("cuda", index), gpus=1)


@pytest.mark.parametrize(
    ("device", "index", "visible", "expected"),
    [
        ("auto", 0, None, None),
        ("cuda", 0, "2,3", None),
        ("cuda:1", 1, None, "1"),
        ("cuda:1", 1, "2,3", "3"),
        ("0", 0, "GPU-aa,GPU-bb", "GPU-aa"),
    ],
)
def test_one_named_gpu_is_the_only_one_that_workers_see(
    device: str,
    index: int,
    visible: str | None,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    plan = on_cuda(plan_of(), device, index)
    assert plan.visible_gpu == expected
    assert plan.resolved()["device"] == ("cuda" if expected is None else f"cuda:{index}")


def test_workers_call_their_gpu_number_zero() -> None:
    plan = on_cuda(plan_of(), "cuda:3", 3)
    assert plan.settings(Path("base.pt")).device == "cuda:0"
    assert plan_of().settings(Path("base.pt")).device == "cpu"


def test_a_runtime_is_checked_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"unknown runtime 'abacus'.*onnxruntime, .*torch"):
        plan_of(runtime="abacus")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"runtime torch-compile cannot be used on cpu"):
        plan_of(runtime="torch-compile")


def test_the_batch_is_that_of_the_base_too() -> None:
    plan = plan_of(batch=4, base_epochs=3)
    assert plan.base_schedule is not None
    assert (plan.schedule.batch_size, plan.base_schedule.batch_size) == (4, 4)
    assert plan.base_schedule.epochs == 3


def test_the_base_is_trained_unless_the_weights_have_every_layer(tmp_path: Path) -> None:
    """The embedded set has 10 classes; weights of others are where a training starts."""
    for classes in (10, 7):
        network = get_network("resnet20-cifar").build(classes)
        torch.save(network.state_dict(), tmp_path / f"{classes}.pt")
    whole, other = str(tmp_path / "10.pt"), str(tmp_path / "7.pt")
    assert plan_of(weights=whole).base_schedule is None
    assert plan_of(weights=whole).base_told == f"weights of {whole}"
    assert plan_of(weights=other).base_told == f"4 epochs from {other}"
    assert plan_of(weights=whole, base_epochs=1).base_told == f"1 epoch from {whole}"
    assert plan_of().base_told == "4 epochs"
    assert [plan_of(weights=given).resolved()["base_epochs"] for given in (whole, other)] == [0, 4]


@pytest.mark.parametrize(
    ("options", "device", "runtime"),
    [
        ({}, None, "cuda-graph-fp16"),
        ({"latency_on": "cuda"}, "cuda", "cuda-graph-fp16"),
        ({"latency_on": "cpu"}, "cpu", "onnxruntime"),
        ({"latency_on": "cpu", "runtime": "torch"}, "cpu", "torch"),
        ({"latency_on": "node:jetson"}, None, None),
        ({"latency_on": "node:jetson", "runtime": "torch"}, None, "torch"),
    ],
)
def test_latency_is_measured_where_it_is_asked_for(
    options: dict[str, str], device: str | None, runtime: str | None
) -> None:
    """A training on CUDA; a node's own default runtime is known to the node alone."""
    plan = on_cuda(plan_of(), "cuda", 0)
    plan = dataclasses.replace(plan, config=plan.config.model_copy(update=options))
    settings = plan.settings(Path("base.pt"))
    assert (settings.device, settings.latency_device) == ("cuda:0", device)
    assert settings.runtime == runtime


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"latency_on": "node:jetson"}, r"--latency-on node:jetson: expected --address"),
        ({"address": "auto", "device": "cuda:1"}, r"--device: .* beside --address.* got cuda:1"),
    ],
)
def test_what_needs_a_cluster_or_does_not_go_with_one(
    options: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "resolve_device", torch.device)
    with pytest.raises(ConfigError, match=expected):
        plan_of(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_for_latency_that_is_not_there_is_told() -> None:
    with pytest.raises(DeviceError, match="device 'cuda' is not available"):
        plan_of(latency_on="cuda")


def test_more_cores_than_there_are_are_refused() -> None:
    cores = joblib.cpu_count()
    with pytest.raises(ConfigError, match=f"cpus: expected at most the {cores} of this process"):
        make_plan(
            SearchConfig(space="resnet20-cifar", budget="1trials", device="cpu", cpus=cores + 1)
        )
