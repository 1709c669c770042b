"""Candidates, and which observations are modelled, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spnas.runs import pareto_indices
from spnas.sampler.candidates import Candidates
from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.proposer import Evidence, _most_telling
from spnas.sampler.surrogate import Observations

_CATEGORIES = Categories({"a": "xyz", "b": "xy", "c": "wxyz", "d": "x", "e": "xyz"})
_COSTS = np.random.default_rng(0).lognormal(size=_CATEGORIES.width)
_EVERYTHING = np.array(list(itertools.product(*map(range, _CATEGORIES.counts))))


def _latency(rows: Codes) -> Floats:
    return _CATEGORIES.one_hot(rows) @ _COSTS


def test_the_best_are_those_of_all_architectures() -> None:
    rng = np.random.default_rng(1)
    candidates = Candidates(_CATEGORIES, _latency, rng)
    effects = rng.normal(size=(4, _CATEGORIES.width))
    trades = rng.lognormal(size=(4, 3))
    found = candidates.best(effects, trades).reshape(4, 3, -1)
    value = _CATEGORIES.one_hot(_EVERYTHING) @ effects.T  # (architectures, draws)
    for draw, trade in itertools.product(range(4), range(3)):
        merit = value[:, draw] - trades[draw, trade] * _latency(_EVERYTHING)
        assert found[draw, trade].tolist() == _EVERYTHING[merit.argmax()].tolist()


def test_the_design_reaches_over_the_range_of_latencies_and_takes_in_the_prior() -> None:
    rng = np.random.default_rng(2)
    categories = Categories({f"site{i}": "xyz" for i in range(30)})
    costs = rng.lognormal(size=categories.width)
    candidates = Candidates(categories, lambda rows: categories.one_hot(rows) @ costs, rng)
    drawn = candidates.design(8, None)
    latency = categories.one_hot(drawn) @ costs
    assert np.ptp(latency) > 2 * np.ptp(candidates.sample_latency[:8])
    prior = rng.normal(size=categories.width)
    best = np.concatenate([[part.argmax()] for part in categories.split(prior)])
    assert best.tolist() in candidates.design(8, prior).tolist()


def test_neighbours_differ_in_one_parameter_and_are_complete() -> None:
    row = _EVERYTHING[17]
    found = _CATEGORIES.neighbours(row[None])
    expected = [other for other in _EVERYTHING if (other != row).sum() == 1]
    assert sorted(found.tolist()) == sorted(np.array(expected).tolist())
    numbered = _CATEGORIES.part(0, int(_CATEGORIES.size))
    assert numbered.tolist() == _EVERYTHING.tolist()


@pytest.mark.parametrize("many", [30, 900])
def test_the_front_is_among_the_observations_that_are_modelled(many: int) -> None:
    rng = np.random.default_rng(3)
    rows = np.zeros((many, 1), dtype=np.int64)
    rows[:, 0] = np.arange(many)
    accuracy, latency = rng.normal(size=many), rng.lognormal(size=many)
    on_front = rng.random(many) < 0.8
    observed = Observations(rows, latency, accuracy, np.zeros(many))
    evidence = Evidence(observed, on_front, rows[:0], set())
    chosen, places = _most_telling(evidence, rng)
    assert len(chosen) == min(many, 500)
    allowed = np.flatnonzero(on_front)
    front = allowed[pareto_indices(list(accuracy[allowed]), list(latency[allowed]))]
    assert set(front) <= set(chosen.rows[places, 0].tolist()) <= set(allowed)


def test_accuracies_of_networks_that_do_not_work_are_drawn_nearer_in_order() -> None:
    accuracy = np.array([*np.linspace(60.0, 70.0, 50), 1.0, 10.0, 50.0])
    rows = np.zeros((53, 1), dtype=np.int64)
    observed = Observations(rows, np.ones(53), accuracy, np.zeros(53))
    evidence = Evidence(observed, np.ones(53, dtype=bool), rows[:0], set())
    drawn = _most_telling(evidence, np.random.default_rng(0))[0].accuracy
    assert drawn[:50].tolist() == accuracy[:50].tolist()
    assert 30 < drawn[50] < drawn[51] < drawn[52] < 60
