"""What latency is measured on: the latency table within a time limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from spnas.architecture import REGULAR, Choice
from spnas.latency import LatencyTable, LayerTimer, LayerTimes
from spnas.networks import get_network, list_sites
from spnas.search import bench
from spnas.search.bench import Bench


class Clock:
    """Turned by each layer measured."""

    def __init__(self) -> None:
        self.now = 0.0
        self.later_sites = 0.1

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A machine that takes a second for the first three sites each, and for others what the test says."""
    clock = Clock()
    timed: list[str] = []

    def time_layer(self: LayerTimer, operator: Any, shape: Sequence[int]) -> LayerTimes:
        timed.append(operator.site.name)
        clock.now += 1.0 if len(timed) <= 3 else clock.later_sites
        return LayerTimes(1e-3, {"default": 1e-3})

    def take(self: LayerTimer, modules: Mapping[str, nn.Module], shape: Any) -> dict[str, float]:
        return dict.fromkeys(modules, 0.02)

    monkeypatch.setattr(bench, "time", clock)
    monkeypatch.setattr(LayerTimer, "time", time_layer)
    monkeypatch.setattr(LayerTimer, "take", take)
    return clock


def table(limit_s: float) -> LatencyTable | None:
    network = get_network("resnet20-cifar").build(10)
    choices: dict[str, tuple[Choice, ...]] = {s.name: (REGULAR,) for s in list_sites(network)}
    return Bench("cpu").table(network, choices, torch.rand(1, 3, 32, 32), limit_s)


def test_a_table_within_its_time(clock: Clock) -> None:
    found = table(7.0)
    assert found is not None
    assert len(found.times) == 19
    assert found.base_s == 0.02


def test_one_over_its_time_is_given_up(clock: Clock) -> None:
    clock.later_sites = 1.0
    assert table(7.0) is None
    assert clock.now == 8.0


def test_one_without_hope_is_given_up_at_once(clock: Clock) -> None:
    clock.later_sites = 1.0
    assert table(6.0) is None
    assert clock.now == 3.0
