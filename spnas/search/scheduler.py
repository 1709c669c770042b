"""Which trials go on at a rung, by name of the rule; and the one by non-dominated sorting with an epsilon-net.

Asynchronous successive halving for two objectives. Latency is known before training, so only the accuracy at the
rung is new. The rule is that of Schmucker et al., "Multi-objective Asynchronous Successive Halving"
(arXiv 2106.12639), which orders a front so that its first members are spread over it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spnas.search.config import SchedulerName
from spnas.search.promise import PromiseRule

Point = tuple[float, float]


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Sort points into fronts: the non-dominated ones, those non-dominated without them, and so on.

    In the order of latency, each point goes to the first front whose most accurate point so far does not dominate it:
    n log n steps (Jensen, "Reducing the run-time complexity of multiobjective EAs", 2003, for two objectives).

    Args:
        points: `(accuracy, latency)`, the more accuracy and the less latency the better.

    Returns:
        Indices into `points`, a list for each front.
    """
    ordered = sorted((latency, -accuracy, i) for i, (accuracy, latency) in enumerate(points))
    result: list[list[int]] = []
    best: list[tuple[float, float]] = []  # of each front (-accuracy, latency), ascending
    for latency, loss, i in ordered:
        front = bisect_left(best, (loss, latency))
        if front == len(best):
            result.append([])
            best.append((loss, latency))
        best[front] = (loss, latency)
        result[front].append(i)
    return [sorted(front) for front in result]


def epsilon_net(points: NDArray[np.float64]) -> list[int]:
    """Order points so that every prefix is spread out: start at the best of the first objective, then farthest first.

    Args:
        points: `(n, 2)`, scaled so that distances in both objectives compare.
    """
    order = [int(np.argmax(points[:, 0]))]
    distance = np.linalg.norm(points - points[order[0]], axis=1)
    while len(order) < len(points):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[order[-1]], axis=1))
    return order


def ranking(points: Sequence[Point]) -> list[int]:
    """Order points from best to worst: by front, and inside a front by the epsilon-net.

    Args:
        points: `(accuracy, latency)`.

    Returns:
        Indices into `points`.
    """
    values = np.asarray(points, dtype=float).reshape(-1, 2)
    span = np.ptp(values, axis=0)
    scaled = values / np.where(span > 0, span, 1.0)
    order: list[int] = []
    for front in fronts(points):
        order += [front[i] for i in epsilon_net(scaled[front])]
    return order


class Rule(Protocol):
    """Decides at each rung whether a trial goes on."""

    def add(self, trial: int, rung: int, accuracy: float, latency: float) -> None:
        """Note what a trial had at a rung, without deciding anything (a resumed run's earlier trials)."""

    def complete(self, trial: int, accuracy: float, latency: float) -> None:
        """Note what a trial had at the end."""

    def goes_on(self, trial: int, rung: int, accuracy: float, latency: float) -> bool:
        """Note what a trial has at a rung and say whether it goes on."""


def make_rule(name: SchedulerName, rungs: Sequence[int]) -> Rule:
    """Make a rule.

    Args:
        name: Which one; `none` lets everything go on.
        rungs: Epochs at which trials are judged.
    """
    if name == "promise":
        return PromiseRule(rungs)
    return RungRule(rungs if name == "epsilon-net" else ())


class RungRule:
    """Decides at each rung whether a trial goes on, from what other trials had at the same rung.

    Args:
        rungs: Epochs at which trials are compared.
        eta: One in `eta` goes on.
        grace: Trials that go on at each rung before any is stopped, so that the comparison means something.
    """

    def __init__(self, rungs: Sequence[int], eta: float = 2.0, grace: int = 4) -> None:
        self._seen: dict[int, dict[int, Point]] = {rung: {} for rung in rungs}
        self._eta = eta
        self._grace = grace

    def add(self, trial: int, rung: int, accuracy: float, latency: float) -> None:
        """Note what a trial had at a rung, without deciding anything (a resumed run's earlier trials)."""
        if rung in self._seen:
            self._seen[rung][trial] = (accuracy, latency)

    def complete(self, trial: int, accuracy: float, latency: float) -> None:
        """Do nothing: trials are compared at rungs alone."""

    def goes_on(self, trial: int, rung: int, accuracy: float, latency: float) -> bool:
        """Note what a trial has at a rung and say whether it goes on."""
        if rung not in self._seen:
            return True
        self.add(trial, rung, accuracy, latency)
        seen = self._seen[rung]
        if len(seen) <= self._grace:
            return True
        trials = list(seen)
        best = ranking(list(seen.values()))[: max(1, int(len(seen) / self._eta))]
        return trial in {trials[i] for i in best}
