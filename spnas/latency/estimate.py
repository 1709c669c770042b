"""Robust statistics of repeated measurements: a quantile with its confidence interval, and their spread."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

# The standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_STD = 1.4826
_CONFIDENCE = 0.95
_NORMAL = 1.96  # standard deviations to each side that hold as much of a normal distribution


@dataclass(frozen=True)
class Estimate:
    """A quantile, how far single values spread, and how well the quantile is known.

    Attributes:
        value: The quantile, the median unless another one was asked for; or the ratio of two.
        std: 1.4826 times the median absolute deviation: the standard deviation, were the values normal, whatever a
            minority of outliers says.
        low: Lower end of the 95% confidence interval of `value`; minus infinity where the values are too few: a median
            takes six, a quartile thirteen.
        high: Upper end; infinity where they are too few.
    """

    value: float
    std: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike, quantile: float = 0.5) -> Estimate:
        """Estimate from the values, at least one.

        The interval lies between two order statistics and assumes nothing of the values' distribution: each of n
        values is below the true quantile with a chance of `quantile`, so that the number of those below is binomial.

        Args:
            values: What was measured.
            quantile: Which one, in 0..1.

        Source: David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
        """
        ordered = np.sort(np.asarray(values, dtype=float))
        first, last = _ranks(len(ordered), quantile)
        return cls(
            value=float(np.quantile(ordered, quantile)),
            std=float(_MAD_TO_STD * np.median(np.abs(ordered - np.median(ordered)))),
            low=float(ordered[first - 1]) if first else -math.inf,
            high=float(ordered[last - 1]) if last <= len(ordered) else math.inf,
        )

    def over(self, other: Estimate, std: float) -> Estimate:
        """Give the ratio to another estimate, of positive values that were measured independently.

        Args:
            other: What to divide by.
            std: The spread to state.
        """
        ratio = self.value / other.value
        below = math.hypot(1 - self.low / self.value, other.high / other.value - 1)
        above = math.hypot(self.high / self.value - 1, 1 - other.low / other.value)
        return Estimate(ratio, std, ratio * (1 - below), ratio * (1 + above))

    @property
    def half_width(self) -> float:
        """Half of the interval's width, as a share of the value."""
        return (self.high - self.low) / 2 / abs(self.value)

    def widened(self, std: float) -> Estimate:
        """Give the interval that also tells of a further error, independent and normal.

        Args:
            std: Standard deviation of that error.
        """
        reach = _NORMAL * std
        low = self.value - math.hypot(self.value - self.low, reach)
        high = self.value + math.hypot(self.high - self.value, reach)
        return replace(self, low=low, high=high)

    def surely_above(self, limit: float) -> bool:
        """Whether the value is above the limit by more than three times the spread of single values."""
        return self.value - 3 * self.std > limit


@functools.cache
def _ranks(count: int, quantile: float) -> tuple[int, int]:
    """Give the ranks, from 1, of the values that bound the interval; 0 or `count + 1` where so few make no bound."""
    tail = (1 - _CONFIDENCE) / 2
    at_most = bdtr(np.arange(count + 1), count, quantile)  # so many values below the true quantile
    return int(np.sum(at_most <= tail)), 1 + int(np.sum(at_most < 1 - tail))


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
    return second.value / first.value - 1
