"""Latency foretold: against additive latencies that are known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spnas.architecture import Architecture
from spnas.runs import TrialRecord
from spnas.search.prediction import LatencyModel
from spnas.spaces import SearchSpace, load_space


def additive(space: SearchSpace, architecture: Architecture) -> float:
    """A ratio that is a sum over sites: every operator has its price, and big sites weigh more."""
    price = {"regular": 1.0, "ghost": 0.7, "spconv": 1.2}
    weights = {site.name: site.in_channels * site.out_channels for site in space.sites}
    total = sum(price[architecture[name].op] * weight for name, weight in weights.items())
    return total / sum(weights.values())


def record(number: int, architecture: Architecture, ratio: float | None) -> TrialRecord:
    return TrialRecord(
        trial=number,
        state="infeasible",
        architecture=architecture,
        origin="sampler",
        latency_ratio=ratio,
    )


def test_foretells_additive_latencies() -> None:
    space, rng = load_space("resnet20-cifar"), random.Random(0)
    drawn = [space.sample(rng) for _ in range(240)]
    records = [record(i, a, additive(space, a)) for i, a in enumerate(drawn[:200])]
    model = LatencyModel(space)
    model.learn(records)
    foretold = np.array([model.predict(a) for a in drawn[200:]])
    errors = foretold[:, 0] - [additive(space, a) for a in drawn[200:]]
    assert np.std(errors) < 0.3 * np.std([additive(space, a) for a in drawn])
    assert 0.5 < np.std(errors) / foretold[0, 1] < 1.5  # the error it states is the error it makes


def test_says_nothing_before_enough_was_measured() -> None:
    space, rng = load_space("resnet20-cifar"), random.Random(0)
    model = LatencyModel(space)
    unmeasured = [record(i, space.sample(rng), None) for i in range(50)]
    model.learn([*unmeasured, record(60, Architecture(), 1.0)])
    assert model.predict(Architecture()) is None


def test_the_base_outside_the_space_is_no_error(space: SearchSpace) -> None:
    rng = random.Random(0)
    model = LatencyModel(space)
    model.learn([record(i, space.sample(rng), 1.0 + i / 100) for i in range(20)])
    outside = Architecture({"layer1.0.conv1": "ghost:0.25"})
    foretold = model.predict(outside)
    assert foretold is not None
    assert foretold[0] == pytest.approx(1.1, abs=0.1)
