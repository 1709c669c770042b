"""Latency foretold: against additive latencies that are known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spnas.architecture import Architecture
from spnas.latency import LatencyTable, LayerTimes
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


def layers(space: SearchSpace, price: dict[str, float], rng: random.Random) -> LatencyTable:
    """A table where a layer takes its weights times its operator's price, each with an error of up to a fifth."""
    times = {}
    for site in space.sites:
        plain = 1e-9 * site.in_channels * site.out_channels
        times[site.name] = {
            choice: LayerTimes(plain, {"default": plain * price[choice.op] * rng.uniform(0.8, 1.2)})
            for choice in space.choices[site.name]
        }
    base_s = 1.25 * sum(1e-9 * site.in_channels * site.out_channels for site in space.sites)
    return LatencyTable(base_s, times)


def test_a_table_foretells_from_few_measurements_what_choices_alone_do_from_many() -> None:
    space, rng = load_space("resnet20-cifar"), random.Random(0)
    table = layers(space, {"regular": 1.0, "ghost": 0.7, "spconv": 1.2}, rng)

    def truth(architecture: Architecture) -> float:
        """Networks save four fifths of what layers save alone."""
        return 1 + 0.8 * (table.ratio(architecture) - 1)

    drawn = [space.sample(rng) for _ in range(60)]
    errors = {}
    for name, known in (("table", table), ("alone", None)):
        model = LatencyModel(space, known)
        model.learn([record(i, a, truth(a)) for i, a in enumerate(drawn[:12])])
        foretold = [model.predict(a) for a in drawn[12:]]
        pairs = zip(foretold, drawn[12:], strict=True)
        errors[name] = np.std([f[0] - truth(a) for f, a in pairs if f is not None])
    assert errors["table"] < 0.2 * errors["alone"]


def test_a_table_alone_foretells_nothing_yet(space: SearchSpace) -> None:
    table = layers(space, {"regular": 1.0, "ghost": 0.7, "spconv": 1.2}, random.Random(0))
    model = LatencyModel(space, table)
    rng = random.Random(0)
    drawn = [*{space.sample(rng) for _ in range(40)} - {Architecture()}][:8]
    model.learn([record(i, a, 1.0) for i, a in enumerate(drawn[:7])])
    assert model.predict(Architecture()) is None
    model.learn([record(i, a, 1.0) for i, a in enumerate(drawn)])
    foretold = model.predict(Architecture())
    assert foretold is not None
    assert foretold[0] == 1.0


def test_the_fastest_of_all_is_found(space: SearchSpace) -> None:
    assert LatencyModel(space).fastest == 1.0
    for price in ({"ghost": 0.7, "spconv": 1.2}, {"ghost": 1.5, "spconv": 1.4}):
        table = layers(space, {"regular": 1.0, **price}, random.Random(0))
        model = LatencyModel(space, table)
        rng = random.Random(1)
        drawn = {space.sample(rng) for _ in range(400)}
        assert len(drawn) == 27
        assert model.fastest == pytest.approx(min(table.ratio(a) for a in drawn))


def test_the_base_outside_the_space_is_no_error(space: SearchSpace) -> None:
    rng = random.Random(0)
    model = LatencyModel(space)
    model.learn([record(i, space.sample(rng), 1.0 + i / 100) for i in range(20)])
    outside = Architecture({"layer1.0.conv1": "ghost:0.25"})
    foretold = model.predict(outside)
    assert foretold is not None
    assert foretold[0] == pytest.approx(1.1, abs=0.1)
