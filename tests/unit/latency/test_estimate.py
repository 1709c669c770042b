"""Robust statistics against scipy and against their own promises on random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from spnas.latency import Estimate
from spnas.latency.estimate import drift


def test_median_and_scaled_median_deviation() -> None:
    found = Estimate.of([1.0, 2.0, 4.0, 8.0, 1000.0])
    assert found.value == 4.0
    assert found.std == pytest.approx(1.4826 * 3.0)


@pytest.mark.parametrize("quantile", [0.5, 0.25])
@pytest.mark.parametrize("count", [*range(6, 40), 99, 400, 5000])
def test_interval_is_scipys(count: int, quantile: float) -> None:
    values = np.random.default_rng(count).normal(size=count)
    expected = stats.quantile_test(values, p=quantile).confidence_interval(0.95)
    found = Estimate.of(values, quantile)
    # Where there is no bound, scipy says nan.
    assert found.low == (-math.inf if math.isnan(expected.low) else expected.low)
    assert found.high == (math.inf if math.isnan(expected.high) else expected.high)


def test_five_values_tell_no_interval() -> None:
    found = Estimate.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.low, found.high, found.half_width) == (-math.inf, math.inf, math.inf)


def test_half_width_is_a_share_of_the_median() -> None:
    assert Estimate(value=0.5, std=0.1, low=0.48, high=0.53).half_width == pytest.approx(0.05)


def test_widened_by_nothing_an_interval_stays() -> None:
    found = Estimate.of(np.random.default_rng(0).normal(1, 0.1, size=30))
    assert found.widened(0.0) == found
    assert Estimate.of([1.0]).widened(0.1).high == math.inf


def test_widened_it_holds_what_differs_from_process_to_process_too() -> None:
    """Each process's rounds scatter about a value of its own; the interval is to hold the middle of all processes."""
    rng = np.random.default_rng(0)
    own = [rng.normal(rng.normal(2, 0.02), 0.03, size=30) for _ in range(2000)]
    known, told = ([Estimate.of(r).widened(std) for r in own] for std in (0.02, 0.0))
    assert 0.93 < np.mean([each.low <= 2 <= each.high for each in known]) < 0.98
    assert np.mean([each.low <= 2 <= each.high for each in told]) < 0.6


def test_interval_holds_the_true_median_of_a_skewed_distribution() -> None:
    rng = np.random.default_rng(0)
    found = [Estimate.of(rng.exponential(size=20)) for _ in range(2000)]
    share = np.mean([each.low <= math.log(2) <= each.high for each in found])
    assert 0.94 < share < 0.98


def test_a_ratio_of_quartiles_is_bounded_from_thirteen_values_on() -> None:
    values = [1.0 + n / 100 for n in range(13)]
    enough, few = Estimate.of(values, 0.25), Estimate.of(values[:12], 0.25)
    assert enough.over(enough, 0.0).half_width < 0.1
    assert few.over(few, 0.0).low == -math.inf


def test_the_interval_of_a_ratio_of_quartiles_holds_the_true_one() -> None:
    """Skewed noise as of forwards that now and then are disturbed, independent in both."""
    rng = np.random.default_rng(0)

    def quartile(scale: float) -> Estimate:
        return Estimate.of(scale * (1 + 0.05 * rng.exponential(size=40)), 0.25)

    found = [quartile(3.0).over(quartile(4.0), 0.0) for _ in range(2000)]
    assert 0.94 < np.mean([each.low <= 0.75 <= each.high for each in found]) < 0.99
    assert np.median([each.value for each in found]) == pytest.approx(0.75, rel=1e-3)


def noise(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(count).normal(1, 0.03, size=count)


def test_a_step_is_told_with_its_size() -> None:
    step = np.where(np.arange(30) < 15, 1.0, 1.3)
    assert drift(step) == pytest.approx(0.3)
    assert drift(step[::-1]) == pytest.approx(1 / 1.3 - 1)
    assert drift(noise(30) * step) == pytest.approx(0.3, abs=0.05)


def test_a_trend_is_told_by_its_halves() -> None:
    assert drift(np.linspace(1.0, 2.0, 41)[:-1]) == pytest.approx(1.7375 / 1.2375 - 1)


def test_what_chance_may_have_made_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    told = [drift(rng.normal(1, 0.3, size=30)) != 0 for _ in range(500)]
    assert np.mean(told) < 0.01
    assert drift(np.full(30, 0.5)) == 0
    assert drift([1.0] * 5 + [2.0] * 5) == 0  # too few to say
    assert drift([1.0] * 6 + [2.0] * 6) == pytest.approx(1.0)


def test_outliers_are_no_drift() -> None:
    values = noise(30)
    values[20:26] *= 5
    assert abs(drift(values)) < 0.1
