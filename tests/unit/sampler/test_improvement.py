"""Expected hypervolume improvement against Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest

from spnas.runs.pareto import hypervolume
from spnas.sampler.improvement import expected_hypervolume_improvement

_REFERENCE = (0.2, 10.0)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_of_what_draws_add_to_the_front(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Some of the front lie beyond the reference point, and one point is dominated.
    accuracy = np.array([0.1, 0.3, 0.5, 0.45, 0.7, 0.9])
    latency = np.array([1.0, 2.0, 4.0, 6.0, 7.0, 11.0])
    mean, deviation = rng.uniform(0.1, 0.9, 8), rng.uniform(0.01, 0.3, 8)
    late = np.array([0.5, 1.5, 2.0, 3.0, 6.5, 7.0, 9.9, 10.5])
    exact = expected_hypervolume_improvement(mean, deviation, late, (accuracy, latency), _REFERENCE)
    before = hypervolume(list(accuracy), list(latency), _REFERENCE)
    for i in range(len(mean)):
        drawn = rng.normal(mean[i], deviation[i], 4000)
        added = [
            hypervolume([*accuracy, d], [*latency, late[i]], _REFERENCE) - before for d in drawn
        ]
        assert exact[i] == pytest.approx(np.mean(added), abs=4 * np.std(added) / 4000**0.5 + 1e-9)


def test_without_a_front_it_is_the_expected_area_above_the_reference() -> None:
    nothing = np.zeros(0)
    sure = np.array([1e-9, 1e-9])
    found = expected_hypervolume_improvement(
        np.array([0.7, 0.1]), sure, np.array([4.0, 1.0]), (nothing, nothing), _REFERENCE
    )
    assert found == pytest.approx([(0.7 - 0.2) * (10 - 4), 0.0])
