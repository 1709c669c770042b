"""Architectures worth scoring: best ones under guessed effects, children of the front, neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spnas.errors import InputError
from spnas.search.categories import Categories, Codes, Floats

LatencyOfRows = Callable[[Codes], Floats]

_SAMPLE = 1000
_TRADES = 16  # trade-offs between accuracy and latency for each guess of the effects
_CHILDREN, _NEIGHBOURS, _RANDOM = 300, 500, 100
_MUTATIONS = 1.5  # expected number of parameters drawn anew in a child
_TILT = 2.5
_PRIOR_TRADES = np.array([0.0, 0.3, 1.0, 3.0])


class Candidates:
    """Makes candidates in a space whose latencies are known.

    Args:
        categories: The parameters.
        latency: Gives the latencies of rows, ms, not finite where an architecture is out of the question.
        rng: Source of randomness.

    Raises:
        InputError: No random architecture has a finite latency, or one is not above 0.
    """

    def __init__(
        self, categories: Categories, latency: LatencyOfRows, rng: np.random.Generator
    ) -> None:
        self._categories = categories
        self._latency, self._rng = latency, rng
        self._random = categories.random(rng, _SAMPLE)
        self.refresh()

    def refresh(self) -> None:
        """Ask for the latencies anew, which may be estimates that improve.

        Raises:
            InputError: No random architecture has a finite latency, or one is not above 0.
        """
        rows, known = self._random, self._latency(self._random)
        finite = np.isfinite(known)
        if not finite.any():
            raise InputError(f"latency: not finite for any of {_SAMPLE} random architectures")
        self.sample, self.sample_latency = rows[finite], known[finite]
        if self.sample_latency.min() <= 0:
            raise InputError(f"latency: expected ms above 0, got {self.sample_latency.min():g}")
        self._costs = self._fit_costs()

    def _fit_costs(self) -> Floats:
        """Fit latency as a sum over the parameters, ms a choice, (width,); it only guides what is tried."""
        hot = self._categories.one_hot(self.sample)
        square = hot.T @ hot + 0.01 * np.eye(hot.shape[1])
        target = self.sample_latency - self.sample_latency.mean()
        costs: Floats = np.linalg.solve(square, hot.T @ target)
        centred = [part - part.mean() for part in self._categories.split(costs)]
        return np.concatenate(centred)

    def design(self, many: int, prior: Floats | None) -> Codes:
        """Give architectures to begin with, from all over the range of latencies.

        Half of them are the best ones by the prior, where there is one, at several trade-offs. The others are drawn
        choice by choice, fast ones more likely or slow ones.
        """
        tilts = np.linspace(1.0, -1.0, many)
        rows = np.stack([self._draw_tilted(tilt) for tilt in tilts[self._rng.permutation(many)]])
        if prior is not None and np.abs(prior).any():
            trades = _PRIOR_TRADES * self._exchange_rate(prior[None])[:, None]
            best = self.best(prior[None], trades)
            rows[1::2] = best[np.arange(len(rows[1::2])) % len(best)]
        return rows

    def _draw_tilted(self, tilt: float) -> Codes:
        row = []
        for costs in self._categories.split(self._costs):
            weights = np.exp(-_TILT * tilt * costs / (costs.std() or 1.0))
            row.append(self._rng.choice(len(costs), p=weights / weights.sum()))
        return np.array(row, dtype=np.int64)

    def _exchange_rate(self, effects: Floats) -> Floats:
        """Give how much effect goes with a millisecond, on the average, (draws,)."""
        return np.asarray(np.abs(effects).mean(1) / (np.abs(self._costs).mean() or 1.0))

    def best(self, effects: Floats, trades: Floats) -> Codes:
        """Maximize effect less trade-off times latency, each parameter by itself.

        The Lagrangian relaxation of the programme of `programme.py`: exact at the budgets that its solutions have.

        Args:
            effects: Of each choice of each parameter, (draws, width).
            trades: Effect that a millisecond is worth, (draws, trades).

        Returns:
            (draws * trades, parameters).
        """
        columns = []
        categories = self._categories
        for start, count in zip(categories.starts, categories.counts, strict=True):
            part = slice(start, start + count)
            value = effects[:, None, part] - trades[:, :, None] * self._costs[part]
            columns.append(value.argmax(-1).ravel())
        return np.stack(columns, axis=1)

    def guesses(self, effects: Floats, per_relative_latency: Floats) -> Codes:
        """Give the best architectures under guessed effects, at random trade-offs.

        Args:
            effects: Of each choice of each parameter, (draws, width).
            per_relative_latency: Effect of a relative change of the latency, (draws,).
        """
        per_ms = per_relative_latency / np.median(self.sample_latency)
        effects = effects + per_ms[:, None] * self._costs
        spread = np.exp(self._rng.normal(0.0, 1.5, (len(effects), _TRADES)))
        return self.best(effects, self._exchange_rate(effects)[:, None] * spread)

    def around(self, front: Codes) -> Codes:
        """Give children of a front by uniform crossover and mutation, neighbours of it, and random architectures."""
        rng, categories = self._rng, self._categories
        one, other = front[rng.integers(len(front), size=(2, _CHILDREN))]
        children = np.where(rng.random(one.shape) < 0.5, one, other)
        drawn = rng.random(one.shape) < _MUTATIONS / one.shape[1]
        children = np.where(drawn, categories.random(rng, _CHILDREN), children)
        neighbours = categories.neighbours(front)
        if len(neighbours) > _NEIGHBOURS:
            neighbours = neighbours[rng.choice(len(neighbours), _NEIGHBOURS, replace=False)]
        return np.concatenate([children, neighbours, categories.random(rng, _RANDOM)])
