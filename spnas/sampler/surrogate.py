"""A Gaussian process for the accuracy of architectures that were not trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from spnas.sampler.categories import Codes, Floats
from spnas.sampler.kernel import Kernel, Parts, Points

_DRAWS, _STEPS = 4, 3  # hyperparameters kept, and steps of the chain from one to the next
_MOST_FOR_DRAWS = (
    300  # observations that hyperparameters are drawn from; more tell little more of them
)
# Hyperparameters are drawn again after as many calls as are this share of the observations: a new observation a call,
# they would hardly differ before.
_REDRAWN = 0.01
_JITTER = 1e-6


@dataclass(frozen=True)
class Observations:
    """What is known of architectures.

    Attributes:
        rows: The architectures, (N, parameters).
        latency: Theirs, ms, (N,).
        accuracy: What was observed, (N,).
        variance: Of each observation beyond the noise that all have, (N,).
    """

    rows: Codes
    latency: Floats
    accuracy: Floats
    variance: Floats

    def __len__(self) -> int:
        return len(self.accuracy)

    def take(self, chosen: Codes) -> Observations:
        """Give some of them."""
        return Observations(
            self.rows[chosen], self.latency[chosen], self.accuracy[chosen], self.variance[chosen]
        )

    def join(self, other: Observations) -> Observations:
        """Give these and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Observations(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class _Posterior:
    """The process given the observations, for one draw of the hyperparameters, in standardized accuracy."""

    theta: Floats
    covariance: Floats
    noise: Floats
    factor: Floats
    weights: Floats


class Surrogate:
    """A Gaussian process whose hyperparameters are not fitted but drawn from their posterior.

    With few observations many explanations fit, and the best fit alone would be too sure of one. Elliptical slice
    sampling needs no gradients and no tuning (Murray, Adams and MacKay, AISTATS 2010); the chain goes on from draw to
    draw. With more than a hundred observations not every call draws.

    Args:
        rng: Source of randomness.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._theta: Floats | None = None
        self._posteriors: list[_Posterior] = []
        self._age = 0

    def learn(self, kernel: Kernel, data: Observations) -> None:
        """Draw hyperparameters, where enough is new, and condition on the observations.

        Args:
            kernel: Covariance of the accuracies; of the same kinds from call to call.
            data: The observations, at least one.
        """
        self._kernel = kernel
        self._shift = float(data.accuracy.mean())
        self._scale = float(data.accuracy.std()) or 1.0
        self._age += 1
        if not self._posteriors or self._age >= _REDRAWN * len(data):
            draws = self._draw(data)
            self._age = 0
        else:
            draws = [posterior.theta for posterior in self._posteriors]
        self._condition(draws, data)

    def _draw(self, data: Observations) -> list[Floats]:
        """Draw hyperparameters; the chain goes on from where it was."""
        theta = self._kernel.expected if self._theta is None else self._theta
        few = data
        if len(data) > _MOST_FOR_DRAWS:
            few = data.take(self._rng.choice(len(data), _MOST_FOR_DRAWS, replace=False))
        points = self._kernel.points(few.rows, few.latency)
        parts = self._kernel.parts(points, points)
        draws = []
        for _ in range(_DRAWS):
            for _ in range(_STEPS):
                theta = self._step(theta, points, parts, few)
            draws.append(theta)
        self._theta = theta
        return draws

    def imagine(self, data: Observations) -> None:
        """Condition on other observations, with the hyperparameters and the scale as they are."""
        self._condition([posterior.theta for posterior in self._posteriors], data)

    def _condition(self, draws: list[Floats], data: Observations) -> None:
        self._points = self._kernel.points(data.rows, data.latency)
        self._values = (data.accuracy - self._shift) / self._scale
        parts = self._kernel.parts(self._points, self._points)
        self._posteriors = []
        for theta in draws:
            covariance = self._kernel.covariance(theta, self._points, self._points, parts)
            noise = self._noise(theta, data)
            factor = np.asarray(np.linalg.cholesky(covariance + np.diag(noise)))
            weights = cho_solve((factor, True), self._values)
            self._posteriors.append(_Posterior(theta, covariance, noise, factor, weights))

    def _noise(self, theta: Floats, data: Observations) -> Floats:
        return self._kernel.variances(theta)["noise"] + data.variance / self._scale**2 + _JITTER

    def _log_likelihood(
        self, theta: Floats, points: Points, parts: Parts, data: Observations
    ) -> float:
        matrix = self._kernel.covariance(theta, points, points, parts)
        matrix[np.diag_indices(len(data))] += self._noise(theta, data)
        factor = np.linalg.cholesky(matrix)
        half = solve_triangular(factor, (data.accuracy - self._shift) / self._scale, lower=True)
        return float(-0.5 * half @ half - np.log(np.diag(factor)).sum())

    def _step(self, theta: Floats, points: Points, parts: Parts, data: Observations) -> Floats:
        """Move along an ellipse through the hyperparameters and a draw from their prior."""
        expected = self._kernel.expected
        here = theta - expected
        other = self._rng.normal(size=len(here)) * self._kernel.spread
        level = self._log_likelihood(theta, points, parts, data) + np.log(self._rng.random())
        angle = self._rng.uniform(0.0, 2 * np.pi)
        low, high = angle - 2 * np.pi, angle
        while high - low > 1e-6:
            moved = expected + here * np.cos(angle) + other * np.sin(angle)
            if self._log_likelihood(moved, points, parts, data) > level:
                return np.asarray(moved)
            low, high = (angle, high) if angle < 0 else (low, angle)
            angle = self._rng.uniform(low, high)
        return theta

    def predict(self, rows: Codes, latency: Floats) -> tuple[Floats, Floats]:
        """Give mean and standard deviation of the true accuracy for each draw of the hyperparameters, (draws, N)."""
        points = self._kernel.points(rows, latency)
        parts = self._kernel.parts(points, self._points)
        means, deviations = [], []
        for posterior in self._posteriors:
            cross = self._kernel.covariance(posterior.theta, points, self._points, parts)
            half = solve_triangular(posterior.factor, cross.T, lower=True)
            variance = self._kernel.diagonal(posterior.theta, points) - (half**2).sum(0)
            means.append(cross @ posterior.weights)
            deviations.append(np.sqrt(np.maximum(variance, 1e-10)))
        return np.array(means) * self._scale + self._shift, np.array(deviations) * self._scale

    def smoothed(self) -> Floats:
        """Give the mean of the true accuracies of what was observed, (N,)."""
        means = [posterior.covariance @ posterior.weights for posterior in self._posteriors]
        return np.asarray(np.mean(means, axis=0) * self._scale + self._shift)

    def draw_effects(self, many: int) -> tuple[Floats, Floats]:
        """Draw the additive part of the accuracy from the posterior.

        A draw from the prior, of the additive weights and of all else at the observed points, is corrected by what it
        misses the observations by (Matheron's rule).

        Returns:
            The effect of every choice of every parameter, (draws, width), and the effect of a relative change of
            latency, (draws,), in standardized accuracy. There are `many` for each draw of the hyperparameters.
        """
        effects, slopes = [], []
        for posterior in self._posteriors:
            additive = self._kernel.additive(posterior.theta)
            slope = self._kernel.slope(posterior.theta)
            line = slope * self._points.latency[:, None]
            features = np.concatenate([self._points.hot @ additive, line], axis=1)
            weights = self._rng.normal(size=(many, features.shape[1]))
            rest = posterior.covariance - features @ features.T + np.diag(posterior.noise)
            root = np.linalg.cholesky(rest)
            drawn = weights @ features.T + self._rng.normal(size=(many, len(root))) @ root.T
            missed = cho_solve((posterior.factor, True), (self._values - drawn).T)
            weights = weights + missed.T @ features
            effects.append(weights[:, :-1] @ additive.T)
            slopes.append(self._kernel.per_relative_latency(slope * weights[:, -1]))
        return np.concatenate(effects), np.concatenate(slopes)
