"""What is told of the machine that a search runs on."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from spnas.search.config import SearchConfig
from spnas.search.devices import devices_used
from spnas.search.environment import used_by_others

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.mark.parametrize(
    ("percent", "told"),
    [(3.0, None), (100.0, "others keep 100% of this machine's processors busy")],
)
def test_a_busy_processor_is_told(
    monkeypatch: pytest.MonkeyPatch, percent: float, told: str | None
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)
    assert used_by_others(CPU) == told


@pytest.mark.parametrize(
    ("used", "told"), [(1e9, None), (70e9, "others use cuda:0: 70.0 of its 80.0 GB are taken")]
)
def test_a_gpu_that_others_use_is_told(
    monkeypatch: pytest.MonkeyPatch, used: float, told: str | None
) -> None:
    properties = SimpleNamespace(total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "device_memory_used", lambda device: used)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    assert used_by_others(CUDA) == told


def test_a_board_without_nvml_is_taken_for_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(device: torch.device) -> int:
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8e9)
    )
    monkeypatch.setattr(torch.cuda, "device_memory_used", missing)
    assert used_by_others(CUDA) is None


@pytest.mark.parametrize(
    ("options", "gpus", "expected"),
    [
        ({"device": "cpu"}, 0, ["cpu"]),
        ({"device": "cuda"}, 2, ["cuda:0", "cuda:1"]),
        ({"device": "cuda:1"}, 1, ["cuda:1"]),
        ({"device": "cuda", "latency_on": "cuda"}, 1, ["cuda:0"]),
        ({"device": "cuda", "latency_on": "cpu"}, 1, ["cuda:0", "cpu"]),
        ({"device": "cuda", "latency_on": "node:jetson", "address": "auto"}, 1, ["cuda:0"]),
    ],
)
def test_the_devices_of_a_search_are_looked_at(
    options: dict[str, str], gpus: int, expected: list[str]
) -> None:
    config = SearchConfig(space="resnet20-cifar", budget="1h", **options)
    device = torch.device("cuda:0" if options["device"] == "cuda" else options["device"])
    assert list(map(str, devices_used(config, device, gpus))) == expected
