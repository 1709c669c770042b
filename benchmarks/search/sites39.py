"""A synthetic problem of the shape of `yolov8n`: 39 sites, up to 6 choices each, its true front known exactly.

Latency is the sum over the sites plus a small term for each pair of neighbours. Accuracy is that of the base less a
loss for each site, of very unequal sizes, plus terms for pairs of neighbours and next neighbours; a training observes
it with noise. The terms of pairs are as large as leaves the sum of the single losses a rank correlation of .94 with the
truth over random architectures: on the real table NAS-Bench-Macro it is .90 to .96. Latencies are whole multiples of a
tick, so that dynamic programming over (the last two choices, ticks so far) finds the true front exactly: interactions
reach no further than two sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from spnas.runs.pareto import hypervolume

Array = NDArray[np.float64]

_TICK_MS = 0.01
_BASE_TICKS = 4000
_SITES = 39
_OPERATORS = ["regular", "ghost:0.5", "ghost:0.25", "spconv:0.5", "spconv:0.25", "spconv:0.125"]
# Share of the plain convolution's time, and how much is lost in accuracy, on the average site.
_TIME = np.array([1.0, 0.75, 0.6, 0.75, 0.58, 0.5])
_LOSS = np.array([0.0, 0.5, 0.9, 0.4, 0.7, 1.0])


class Sites39:
    """One instance, drawn from its number."""

    def __init__(self, instance: int) -> None:
        rng = np.random.default_rng([39, instance])
        counts = rng.permutation([6] * 30 + [4] * 5 + [2] * 4)
        self.choices: dict[str, list[object]] = {}
        self._ticks: list[NDArray[np.int64]] = []
        self._losses: list[Array] = []
        cost = rng.lognormal(0.0, 0.8, _SITES)
        size = rng.lognormal(0.0, 1.2, _SITES)
        for site, count in enumerate(counts):
            kept = [0, *np.sort(rng.choice(np.arange(1, 6), count - 1, replace=False))]
            self.choices[f"site{site:02d}"] = [_OPERATORS[i] for i in kept]
            time = _TIME[kept] * rng.lognormal(0.0, 0.15, count) + 0.05
            loss = _LOSS[kept] * rng.lognormal(0.0, 0.6, count)
            time[0] = 1.0
            self._ticks.append(time * cost[site] / cost.sum() * _BASE_TICKS)
            self._losses.append(loss * size[site] / size.sum() * 0.3)
        self._ticks = [np.rint(ticks).astype(np.int64) for ticks in self._ticks]
        self._draw_pairs(rng)
        sample = self._sample(rng, 10_000)
        accuracy = self._accuracy(sample)
        self.noise = 0.15 * float(accuracy.std())
        base = float(self._latency(np.zeros((1, _SITES), dtype=np.int64))[0])
        self.reference = (float(np.median(accuracy)), 1.1 * base)
        self._rng_scores = rng

    def _draw_pairs(self, rng: np.random.Generator) -> None:
        """Draw the terms of pairs; a pair with a regular member has none, one that loses much has large ones."""
        sample = self._sample(rng, 2000)
        ticks = np.stack([self._ticks[i][sample[:, i]] for i in range(_SITES)])
        late = 0.10 * ticks.sum(0).std() / np.sqrt(_SITES)
        self._pairs: dict[tuple[int, int], Array] = {}
        self._pair_ticks: list[NDArray[np.int64]] = []
        for i in range(_SITES - 1):
            shape = len(self._losses[i]), len(self._losses[i + 1])
            pair = np.rint(rng.normal(0.0, late, shape)).astype(np.int64)
            pair[0], pair[:, 0] = 0, 0
            self._pair_ticks.append(pair)
        for i, j in [(i, i + d) for d in (1, 2) for i in range(_SITES - d)]:
            size = np.sqrt(np.outer(self._losses[i], self._losses[j]))
            self._pairs[i, j] = size * rng.normal(size=size.shape)
        # Their spread over random architectures is 35% of that of the sites' own terms.
        losses = np.stack([self._losses[i][sample[:, i]] for i in range(_SITES)]).sum(0)
        spread = np.std(self._pair_terms(sample))
        self._pairs = {k: 0.35 * losses.std() / spread * terms for k, terms in self._pairs.items()}

    def _sample(self, rng: np.random.Generator, many: int) -> NDArray[np.int64]:
        return np.stack([rng.integers(len(loss), size=many) for loss in self._losses], axis=1)

    def _encode(self, many: Sequence[Mapping[str, object]]) -> NDArray[np.int64]:
        items = [
            (name, {c: i for i, c in enumerate(given)}) for name, given in self.choices.items()
        ]
        return np.array([[places[row[name]] for name, places in items] for row in many])

    def _latency(self, rows: NDArray[np.int64]) -> Array:
        ticks = sum(self._ticks[i][rows[:, i]] for i in range(_SITES))
        for i, pair in enumerate(self._pair_ticks):
            ticks = ticks + pair[rows[:, i], rows[:, i + 1]]
        return np.asarray(ticks) * _TICK_MS

    def _accuracy(self, rows: NDArray[np.int64]) -> Array:
        value = 0.5 - sum(self._losses[i][rows[:, i]] for i in range(_SITES))
        return np.asarray(value + self._pair_terms(rows))

    def _pair_terms(self, rows: NDArray[np.int64]) -> Array:
        return np.asarray(sum(t[rows[:, i], rows[:, j]] for (i, j), t in self._pairs.items()))

    def latency(self, many: Sequence[Mapping[str, object]]) -> Array:
        """Give latencies, ms."""
        return self._latency(self._encode(many))

    def accuracy(self, many: Sequence[Mapping[str, object]]) -> Array:
        """Give true accuracies."""
        return self._accuracy(self._encode(many))

    def true_hypervolume(self) -> float:
        """Compute the hypervolume of the exact front."""
        best = self._best_by_ticks()
        ticks = np.flatnonzero(np.isfinite(best))
        return hypervolume(list(best[ticks]), list(ticks * _TICK_MS), self.reference)

    def _best_by_ticks(self) -> Array:
        """Find the best accuracy at every latency, by dynamic programming along the sites."""
        length = int(self.reference[1] / _TICK_MS) + 1
        # table[a, b, t]: the best so far with choice a at the site before the last, b at the last, in t ticks.
        table = np.full((len(self._ticks[0]), len(self._ticks[1]), length), -np.inf)
        for a, b in np.ndindex(table.shape[:2]):
            ticks = self._ticks[0][a] + self._ticks[1][b] + self._pair_ticks[0][a, b]
            table[a, b, ticks] = (
                0.5 - self._losses[0][a] - self._losses[1][b] + self._pairs[0, 1][a, b]
            )
        for site in range(2, _SITES):
            old = table
            table = np.full((old.shape[1], len(self._ticks[site]), length), -np.inf)
            for b, c in np.ndindex(table.shape[:2]):
                gain = self._pairs[site - 2, site][:, c] + self._pairs[site - 1, site][b, c]
                best = (old[:, b] + gain[:, None]).max(0) - self._losses[site][c]
                step = int(self._ticks[site][c] + self._pair_ticks[site - 1][b, c])
                # A pair may save more than a very small site costs.
                if step >= 0:
                    table[b, c, step:] = best[: length - step]
                else:
                    table[b, c, :step] = best[-step:]
        return table.max((0, 1))

    def scores(self, correlation: float) -> dict[str, dict[object, float]]:
        """Draw scores of the choices, the more the better, regular's the best.

        The loss of each site and choice is multiplied by lognormal noise, as large as gives the rank correlation.

        Args:
            correlation: Spearman's, between score and true loss over all sites and choices but regular; 0 gives all
                scores, regular's too, to other places at random.
        """
        true = np.concatenate([loss[1:] for loss in self._losses])
        rng = np.random.default_rng([40, len(true), int(1e9 * true[0])])
        if correlation == 0:
            everything = rng.permutation(np.concatenate(self._losses))
            parts = np.split(-everything, np.cumsum([len(loss) for loss in self._losses])[:-1])
        else:
            noise = rng.normal(size=len(true))
            spreads = np.linspace(0.0, 5.0, 501)
            reached = np.array([spearmanr(np.log(true) + s * noise, true)[0] for s in spreads])
            spread = spreads[np.argmin(np.abs(reached - correlation))]
            noisy = true * np.exp(spread * noise)
            splits = np.cumsum([len(loss) - 1 for loss in self._losses])[:-1]
            parts = [np.r_[0.0, -part] for part in np.split(noisy, splits)]
        return {
            name: dict(zip(given, part.tolist(), strict=True))
            for (name, given), part in zip(self.choices.items(), parts, strict=True)
        }
