"""Which trials go on at a rung: those foretold to reach the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_SHARE = 0.25  # of the trials judged so far that a trial must be among to go on all the same
_FEWEST = 6  # trials that reached both a rung and the end, to foretell the end from the rung


class PromiseRule:
    """Stops a trial whose accuracy at a rung foretells that it ends below the front of the complete trials.

    The foretelling is a line from the accuracy at the rung to that at the end, fitted to the trials that have both; a
    trial goes on where it leads, with some of its error added, to more accuracy than every complete trial has that is
    at least as fast. So does one that comes nearer to that than three in four did: else a line through few trials that
    were not typical would stop all others, and never be corrected.

    Args:
        rungs: Epochs at which trials are judged.
        optimism: Standard errors of the line that are added to what it foretells.
    """

    def __init__(self, rungs: Sequence[int], optimism: float = 0.5) -> None:
        self._seen: dict[int, dict[int, float]] = {rung: {} for rung in rungs}
        self._gains: dict[int, list[float]] = {rung: [] for rung in rungs}
        self._complete: dict[int, tuple[float, float]] = {}
        self._optimism = optimism

    def add(self, trial: int, rung: int, accuracy: float, latency: float) -> None:
        """Note what a trial had at a rung, without deciding anything."""
        if rung in self._seen:
            self._seen[rung][trial] = accuracy

    def complete(self, trial: int, accuracy: float, latency: float) -> None:
        """Note what a trial had at the end."""
        self._complete[trial] = accuracy, latency

    def goes_on(self, trial: int, rung: int, accuracy: float, latency: float) -> bool:
        """Note what a trial has at a rung and say whether it goes on."""
        self.add(trial, rung, accuracy, latency)
        foretold = self._foretell(rung, accuracy)
        if foretold is None:
            return True
        rivals = [best for best, time in self._complete.values() if time <= latency]
        gain = foretold - max(rivals, default=-math.inf)
        gains = self._gains[rung]
        gains.append(gain)
        return gain > 0 or sum(other > gain for other in gains) < _SHARE * len(gains)

    def _foretell(self, rung: int, accuracy: float) -> float | None:
        """Give the accuracy at the end, on the optimistic side; None while too few trials tell."""
        seen = self._seen.get(rung, {})
        pairs = [(seen[t], end) for t, (end, _) in self._complete.items() if t in seen]
        if len(pairs) < _FEWEST:
            return None
        early, late = np.array(pairs).T
        if early.std() == 0:
            return None
        slope = max(float(np.cov(early, late)[0, 1] / early.var(ddof=1)), 0.0)
        start = float(late.mean() - slope * early.mean())
        error = math.sqrt(((late - start - slope * early) ** 2).sum() / (len(pairs) - 2))
        return start + slope * accuracy + self._optimism * error
