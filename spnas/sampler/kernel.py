"""How alike two architectures are expected to be in accuracy: the covariance of the surrogate's Gaussian process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spnas.sampler.categories import Categories, Codes, Floats

# The parts of an accuracy and the variance each is expected to have, where that of the observations is 1.
_EXPECTED = {
    "sites": 0.3,  # a sum over the parameters
    "local": 0.05,  # interactions of all orders
    "latency": 0.3,  # a line over log latency
    "curve": 0.1,  # a curve over it
    "names": 0.3,  # a line over how often each choice is taken, at whatever parameter
    "mix": 0.1,  # a curve over that
    "prior": 0.3,  # a line over the sum of the prior scores
    "prior_sites": 0.1,  # a sum over the parameters, larger where the scores differ more
    "noise": 0.02,
}
_VARIANCE_SPREAD = 1.5  # of the logarithm of a variance
_RELEVANCE_SPREAD = 1.0  # of the logarithm of a parameter's relevance
_LOCAL_RATE = 5.0


@dataclass(frozen=True)
class Points:
    """Architectures as the kernel sees them.

    Attributes:
        hot: One-hot columns, (N, width).
        features: One-hot columns, mapped so that near numbers are alike, (N, width).
        latency: Standardized logarithm, (N,).
        names: How often each choice is taken, less what is expected of a random architecture; (N, choices).
        prior: Sum of the prior scores, (N,).
    """

    hot: Floats
    features: Floats
    latency: Floats
    names: Floats
    prior: Floats


Parts = dict[str, Floats]


class Kernel:
    """A sum of kernels with their variances, and a relevance for each parameter, as hyperparameters.

    Their logarithms form one vector `theta`, of which `expected` and `spread` are the prior's mean and deviation.

    Args:
        categories: The parameters.
        log_latency: Of random architectures, whose mean and spread standardize latency.
        prior: A score for each choice of each parameter, (width,); None where there are none.
    """

    def __init__(
        self, categories: Categories, log_latency: Floats, prior: Floats | None = None
    ) -> None:
        self._categories = categories
        self._centre, self._scale = float(log_latency.mean()), float(log_latency.std()) or 1.0
        shares = categories.spread(1 / categories.counts)
        # Over random architectures, sums over the parameters then have a spread of about 1.
        parameters = len(categories.counts)
        self._names = (categories.shared - shares @ categories.shared / parameters) / np.sqrt(
            parameters
        )
        self._prior = np.zeros(categories.width)
        variances = np.zeros(parameters)
        if prior is not None:
            centred = [part - part.mean() for part in categories.split(prior)]
            variances = np.array([part.var() for part in centred])
            self._prior = np.concatenate(centred) / np.sqrt(variances.sum() or 1.0)
        self._prior_sites = categories.spread(variances / (variances.sum() or 1.0))
        self._kinds = self._kinds_of_use(has_prior=bool(variances.any()))
        expected = [_EXPECTED[kind] for kind in self._kinds]
        self.expected = np.concatenate([np.log(expected), np.zeros(parameters)])
        spreads = [_VARIANCE_SPREAD] * len(expected) + [_RELEVANCE_SPREAD] * parameters
        self.spread = np.array(spreads)

    def _kinds_of_use(self, has_prior: bool) -> list[str]:
        kinds = list(_EXPECTED)
        if self._categories.shared.shape[1] < 2:
            kinds = [kind for kind in kinds if kind not in ("names", "mix")]
        if not has_prior:
            kinds = [kind for kind in kinds if kind not in ("prior", "prior_sites")]
        return kinds

    def variances(self, theta: Floats) -> dict[str, float]:
        """Give the variance of each part, the noise's too."""
        values = np.exp(theta[: len(self._kinds)]).tolist()
        return dict(zip(self._kinds, values, strict=True))

    def _weights(self, theta: Floats) -> Floats:
        """Give the parameters' relevances, as shares, for every choice."""
        relevance = np.exp(theta[len(self._kinds) :])
        return self._categories.spread(relevance / relevance.sum())

    def points(self, rows: Codes, latency: Floats) -> Points:
        """Look at architectures.

        Args:
            rows: The architectures, (N, parameters).
            latency: Theirs, ms, (N,).
        """
        hot = self._categories.one_hot(rows)
        return Points(
            hot,
            hot @ self._categories.alike,
            (np.log(latency) - self._centre) / self._scale,
            hot @ self._names,
            hot @ self._prior,
        )

    def parts(self, a: Points, b: Points) -> Parts:
        """Compute those parts of the covariance, (N, M) each, that depend on no hyperparameter but their variance."""
        names = a.names @ b.names.T
        squares = (a.names**2).sum(1)[:, None] + (b.names**2).sum(1)
        parts = {
            "latency": np.outer(a.latency, b.latency),
            "curve": np.exp(-0.5 * np.subtract.outer(a.latency, b.latency) ** 2),
            "names": names,
            "mix": np.exp(-0.5 * np.maximum(squares - 2 * names, 0.0)),
            "prior": np.outer(a.prior, b.prior),
            "prior_sites": (a.features * self._prior_sites) @ b.features.T,
        }
        return {kind: part for kind, part in parts.items() if kind in self._kinds}

    def covariance(self, theta: Floats, a: Points, b: Points, parts: Parts) -> Floats:
        """Sum the parts, and a constant that is not known either; (N, M)."""
        variances = self.variances(theta)
        alike = (a.features * self._weights(theta)) @ b.features.T
        total = 1.0 + variances["sites"] * alike
        total += variances["local"] * np.exp(_LOCAL_RATE * (alike - 1))
        for kind, part in parts.items():
            total += variances[kind] * part
        return np.asarray(total)

    def diagonal(self, theta: Floats, a: Points) -> Floats:
        """Give the covariances of architectures with themselves, (N,)."""
        variances = self.variances(theta)
        parts = {
            "sites": np.ones(len(a.hot)),  # a choice is alike to itself to 1
            "local": np.ones(len(a.hot)),
            "latency": a.latency**2,
            "curve": np.ones(len(a.hot)),
            "names": (a.names**2).sum(1),
            "mix": np.ones(len(a.hot)),
            "prior": a.prior**2,
            "prior_sites": (a.features**2) @ self._prior_sites,
        }
        used = [variances[kind] * part for kind, part in parts.items() if kind in self._kinds]
        return np.asarray(1.0 + sum(used))

    def additive(self, theta: Floats) -> Floats:
        """Give the map from one-hot columns to those features whose covariance is a product, (width, features).

        With standard normal weights these features give the additive parts: `sites`, `names`, `prior`, `prior_sites`.
        """
        variances = self.variances(theta)
        alike = self._categories.alike
        maps = {
            "sites": alike * np.sqrt(self._weights(theta)),
            "names": self._names,
            "prior": self._prior[:, None],
            "prior_sites": alike * np.sqrt(self._prior_sites),
        }
        used = [np.sqrt(variances[kind]) * m for kind, m in maps.items() if kind in self._kinds]
        return np.concatenate(used, axis=1)

    def slope(self, theta: Floats) -> float:
        """Give the deviation of the line over latency, per standardized logarithm."""
        return float(np.sqrt(self.variances(theta)["latency"]))

    def per_relative_latency(self, slope: Floats) -> Floats:
        """Turn slopes per standardized logarithm into slopes per relative change of latency."""
        return slope / self._scale
