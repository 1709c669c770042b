"""What is told of the machine that a search runs on."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

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
    assert used_by_others(CUDA) == told


def test_a_board_without_nvml_is_taken_for_free(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(total_memory=8e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert used_by_others(CUDA) is None  # there is no NVML here, or no device
