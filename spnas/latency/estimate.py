"""Robust statistics of repeated measurements: a median with its spread and its confidence interval."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

# The standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_STD = 1.4826
_CONFIDENCE = 0.95
_NORMAL = 1.96  # standard deviations to each side that hold as much of a normal distribution


@dataclass(frozen=True)
class Estimate:
    """A median, how far single values spread about it, and how well it is known.

    Attributes:
        median: The median.
        std: 1.4826 times the median absolute deviation: the standard deviation, were the values normal, whatever a
            minority of outliers says.
        low: Lower end of the 95% confidence interval of the median; minus infinity with fewer than six values.
        high: Upper end; infinity with fewer than six values.
    """

    median: float
    std: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike) -> Estimate:
        """Estimate from the values, at least one.

        The interval lies between two order statistics and assumes nothing of the values' distribution: each of n
        values is below the true median with a chance of one half, so that the number of those below is binomial.

        Source: David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
        """
        ordered = np.sort(np.asarray(values, dtype=float))
        median = np.median(ordered)
        rank = _rank(len(ordered))
        return cls(
            median=float(median),
            std=float(_MAD_TO_STD * np.median(np.abs(ordered - median))),
            low=float(ordered[rank - 1]) if rank else -math.inf,
            high=float(ordered[-rank]) if rank else math.inf,
        )

    @property
    def half_width(self) -> float:
        """Half of the interval's width, as a share of the median."""
        return (self.high - self.low) / 2 / abs(self.median)

    def widened(self, std: float) -> Estimate:
        """Give the interval that also tells of a further error, independent and normal.

        Args:
            std: Standard deviation of that error.
        """
        reach = _NORMAL * std
        low = self.median - math.hypot(self.median - self.low, reach)
        high = self.median + math.hypot(self.high - self.median, reach)
        return replace(self, low=low, high=high)

    def surely_above(self, limit: float) -> bool:
        """Whether the median is above the limit by more than three times the spread of single values."""
        return self.median - 3 * self.std > limit


@functools.cache
def _rank(count: int) -> int:
    """Give the rank, from 1, of the value that starts the interval; 0 where so few values make none."""
    below, rank = 0.5**count, 0
    while below <= (1 - _CONFIDENCE) / 2:
        rank += 1
        below += math.comb(count, rank) * 0.5**count
    return rank


def drift(values: ArrayLike) -> float:
    """Say by what share values in the order of time moved from their first half to their second.

    Returns:
        The second half's median over the first half's, less 1; 0 where the two medians' intervals overlap, so that
        chance may have made the difference, as always with fewer than twelve values.
    """
    data = np.asarray(values, dtype=float)
    first, second = Estimate.of(data[: len(data) // 2]), Estimate.of(data[len(data) // 2 :])
    if first.low <= second.high and second.low <= first.high:
        return 0.0
    return second.median / first.median - 1
