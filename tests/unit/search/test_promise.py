from __future__ import annotations

import random

import pytest

from spnas.search.promise import PromiseRule
from spnas.search.scheduler import make_rule


def taught(optimism: float = 0.0) -> PromiseRule:
    """A rule that has seen ten trials end exactly 0.1 above what they had at the rung, and a front of two of them."""
    rule = PromiseRule((1,), optimism)
    for trial in range(10):
        early = 0.3 + 0.02 * trial
        rule.add(trial, 1, early, 10.0)
        rule.complete(trial, early + 0.1, 10.0)
    rule.complete(99, 0.3, 5.0)  # fast, without a value at the rung
    return rule


def test_what_is_foretold_to_reach_the_front_goes_on() -> None:
    rule = taught()
    best = 0.3 + 0.02 * 9 + 0.1
    assert rule.goes_on(100, 1, best - 0.1 + 0.001, 10.0)
    assert not rule.goes_on(101, 1, best - 0.1 - 0.001, 10.0)


def test_only_what_is_at_least_as_fast_is_a_rival() -> None:
    rule = taught()
    assert rule.goes_on(100, 1, 0.3 - 0.1 + 0.001, 9.9)
    assert not rule.goes_on(101, 1, 0.3 - 0.1 - 0.001, 9.9)
    assert rule.goes_on(102, 1, 0.0, 4.9)


def test_nothing_is_stopped_before_enough_is_known() -> None:
    rule = PromiseRule((1,))
    for trial in range(6):
        assert rule.goes_on(trial, 1, 0.1 * trial, 10.0)
        rule.complete(trial, 0.9, 10.0)
    assert rule.goes_on(10, 2, 0.0, 10.0)  # no rung
    assert rule.goes_on(11, 1, 0.6, 10.0)  # the best of those that were judged
    rule.complete(12, 0.95, 10.0)
    assert not rule.goes_on(13, 1, 0.0, 10.0)


@pytest.mark.parametrize("noise", [0.02, 1.0, 50.0])
def test_some_go_on_however_little_a_rung_tells(noise: float) -> None:
    rng = random.Random(1)
    rule = PromiseRule((1,))
    went_on = 0
    for trial in range(300):
        late, latency = rng.gauss(0, 0.1), rng.uniform(5, 15)
        if rule.goes_on(trial, 1, late + rng.gauss(0, 0.1 * noise), latency):
            rule.complete(trial, late, latency)
            went_on += 1
    assert 0.1 * 300 < went_on < 0.5 * 300


def test_values_that_are_all_the_same_foretell_nothing() -> None:
    rule = PromiseRule((1,))
    for trial in range(10):
        rule.add(trial, 1, 0.5, 10.0)
        rule.complete(trial, 0.6 + 0.01 * trial, 10.0)
    assert rule.goes_on(10, 1, 0.5, 10.0)


def test_none_stops_nothing() -> None:
    rule = make_rule("none", (1,))
    assert all(rule.goes_on(trial, 1, -trial, trial) for trial in range(1, 50))
