"""The surrogate against scikit-learn's Gaussian process with the same kernel, written out pair by pair."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel as SklearnKernel

from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.kernel import Kernel
from spnas.sampler.surrogate import Observations, Surrogate

_CHOICES = {"a": ("x", "y", "z"), "b": ("x", "y"), "c": (1, 2, 4), "d": ("x", "z", "w")}
_PRIOR = np.array([0.0, -1.0, 2.0, 0.0, 1.0, 0.0, 0.5, 0.7, 0.0, 3.0, -2.0])


class _Written(SklearnKernel):  # type: ignore[misc]
    """The documented covariance, for rows of choice numbers followed by the standardized logarithm of latency."""

    def __init__(self, variances: dict[str, float], relevance: Floats) -> None:
        self.variances, self.relevance = variances, relevance

    def __call__(self, x: Floats, y: Floats | None = None, eval_gradient: bool = False) -> Floats:
        return np.array([[self._pair(a, b) for b in (x if y is None else y)] for a in x])

    def diag(self, x: Floats) -> Floats:
        return np.array([self._pair(a, a) for a in x])

    def is_stationary(self) -> bool:
        return False

    def _pair(self, a: Floats, b: Floats) -> float:
        alike = [_alike(site, int(i), int(j)) for site, i, j in zip(_CHOICES, a, b, strict=False)]
        share = self.relevance / self.relevance.sum()
        same = float(share @ alike)
        counts_a, counts_b = _counts(a), _counts(b)
        scores = [part - part.mean() for part in np.split(_PRIOR, [3, 5, 8])]
        spread = np.array([part.var() for part in scores])
        sums = [sum(s[int(i)] for s, i in zip(scores, row, strict=False)) for row in (a, b)]
        late_a, late_b = a[-1], b[-1]
        parts = {
            "sites": same,
            "local": np.exp(5 * (same - 1)),
            "latency": late_a * late_b,
            "curve": np.exp(-((late_a - late_b) ** 2) / 2),
            "names": counts_a @ counts_b,
            "mix": np.exp(-((counts_a - counts_b) ** 2).sum() / 2),
            "prior": sums[0] * sums[1] / spread.sum(),
            "prior_sites": float(spread / spread.sum() @ alike),
        }
        return 1.0 + sum(self.variances[kind] * part for kind, part in parts.items())


def _alike(site: str, i: int, j: int) -> float:
    if site == "c":  # numbers, by rank
        return float(np.exp(-abs(i - j) / 2))
    return float(i == j)


def _counts(row: Floats) -> Floats:
    """How often x, y and z are taken, less what is expected, over the root of the number of parameters."""
    names = [_CHOICES[site][int(i)] for site, i in zip(_CHOICES, row, strict=False)]
    expected = {"x": 1 / 3 + 1 / 2 + 1 / 3, "y": 1 / 3 + 1 / 2, "z": 1 / 3 + 1 / 3}
    return np.array([names.count(n) - e for n, e in expected.items()]) / 2.0


def _data(rng: np.random.Generator, many: int) -> tuple[Categories, Codes, Floats]:
    categories = Categories(_CHOICES)
    rows = categories.random(rng, many)
    return categories, rows, rng.lognormal(1.0, 0.5, many)


def test_predictions_are_those_of_a_reference() -> None:
    rng = np.random.default_rng(0)
    categories, rows, latency = _data(rng, 40)
    kernel = Kernel(categories, np.log(latency), _PRIOR)
    accuracy = rng.normal(60.0, 5.0, 25)
    data = Observations(rows[:25], latency[:25], accuracy, rng.uniform(0.0, 9.0, 25))
    surrogate = Surrogate(rng)
    surrogate.learn(kernel, data)
    means, deviations = surrogate.predict(rows[25:], latency[25:])
    standard = (np.log(latency) - np.log(latency).mean()) / np.log(latency).std()
    points = np.column_stack([rows, standard])
    for mean, deviation, posterior in zip(means, deviations, surrogate._posteriors, strict=True):
        variances = kernel.variances(posterior.theta)
        written = _Written(variances, np.exp(posterior.theta[-4:]))
        noise = variances["noise"] + data.variance / accuracy.var() + 1e-6
        reference = GaussianProcessRegressor(written, alpha=noise, optimizer=None)
        reference.fit(points[:25], (accuracy - accuracy.mean()) / accuracy.std())
        expected, spread = reference.predict(points[25:], return_std=True)
        assert mean == pytest.approx(expected * accuracy.std() + accuracy.mean(), abs=1e-6)
        assert deviation == pytest.approx(spread * accuracy.std(), rel=1e-5)
    fitted, _ = surrogate.predict(rows[:25], latency[:25])
    assert surrogate.smoothed() == pytest.approx(fitted.mean(0))


def _additive_problem(
    rng: np.random.Generator, sites: int = 12
) -> tuple[Categories, Codes, Floats, Floats, Floats]:
    """Effects of choices that have nothing to do with latency, and a little noise."""
    categories = Categories({f"site{i:02d}": ("a", "b", "c", "d") for i in range(sites)})
    effects = rng.normal(size=categories.width)
    rows = categories.random(rng, 300)
    accuracy = categories.one_hot(rows) @ effects
    return categories, rows, rng.lognormal(size=300), accuracy, effects


def test_its_uncertainty_is_what_its_errors_are() -> None:
    rng = np.random.default_rng(1)
    categories, rows, latency, accuracy, _ = _additive_problem(rng)
    kernel, surrogate = Kernel(categories, np.log(latency)), Surrogate(rng)
    observed = accuracy[:80] + rng.normal(0, 0.3, 80)
    for _ in range(10):
        surrogate.learn(kernel, Observations(rows[:80], latency[:80], observed, np.zeros(80)))
    mean, deviation = surrogate.predict(rows[80:], latency[80:])
    assert spearmanr(mean.mean(0), accuracy[80:])[0] > 0.9
    errors = (accuracy[80:] - mean) / deviation
    assert 0.5 < np.sqrt((errors**2).mean()) < 1.2


@pytest.mark.parametrize(("true", "weight"), [(True, (1.0, np.inf)), (False, (0.0, 0.35))])
def test_a_prior_is_believed_as_far_as_it_is_true(true: bool, weight: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    categories, rows, latency, accuracy, effects = _additive_problem(rng)
    prior = 1000 * (effects if true else rng.permutation(effects)) + 7.0
    kernel = Kernel(categories, np.log(latency), prior)
    surrogate = Surrogate(rng)
    for _ in range(5):
        surrogate.learn(kernel, Observations(rows[:60], latency[:60], accuracy[:60], np.zeros(60)))
    shares = []
    for posterior in surrogate._posteriors:
        variances = kernel.variances(posterior.theta)
        shares.append(variances["prior"] / variances["sites"])
    low, high = weight
    assert low < np.mean(shares) < high


def test_drawn_effects_are_those_of_the_posterior() -> None:
    rng = np.random.default_rng(3)
    categories, rows, latency, accuracy, effects = _additive_problem(rng, sites=5)
    kernel, surrogate = Kernel(categories, np.log(latency)), Surrogate(rng)
    surrogate.learn(kernel, Observations(rows[:150], latency[:150], accuracy[:150], np.zeros(150)))
    drawn, slopes = surrogate.draw_effects(50)
    assert drawn.shape == (200, categories.width)
    assert np.abs(slopes).mean() < 0.1  # latency tells nothing here

    def contrasts(values: Floats) -> Floats:
        return np.concatenate([part - part.mean() for part in categories.split(values)])

    found = contrasts(drawn.mean(0)) * accuracy[:150].std()
    assert found == pytest.approx(contrasts(effects), abs=0.1)


def test_many_observations_are_learned_without_new_draws() -> None:
    """Hyperparameters stay for some calls; what is foretold follows each observation all the same."""
    rng = np.random.default_rng(0)
    categories = Categories(_CHOICES)
    rows = categories.random(rng, 200)
    latency = rng.uniform(1, 2, len(rows))
    accuracy = rows.sum(1) / 10 + rng.normal(0, 0.01, len(rows))
    data = Observations(rows, latency, accuracy, np.zeros(len(rows)))
    kernel = Kernel(categories, np.log(latency))
    surrogate = Surrogate(rng)
    drawn, foretold = [], []
    for known in range(150, 160):
        surrogate.learn(kernel, data.take(np.arange(known)))
        drawn.append(np.array([posterior.theta for posterior in surrogate._posteriors]))
        foretold.append(surrogate.predict(rows[160:], latency[160:])[0].mean(0))
    changes = [not np.array_equal(a, b) for a, b in pairwise(drawn)]
    assert changes == [*[False, True] * 4, False]
    assert all(not np.allclose(a, b, rtol=1e-6) for a, b in pairwise(foretold))
