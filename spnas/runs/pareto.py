"""Pareto fronts of accuracy (to maximize) against latency (to minimize)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_indices(accuracy: Sequence[float | None], latency: Sequence[float | None]) -> list[int]:
    """Find the points that no other point dominates: none is as fast and as accurate and better in one of the two.

    Args:
        accuracy: Figures to maximize. None and numbers that are not finite keep their point off the front.
        latency: Figures to minimize, in the same order; likewise.

    Returns:
        Indices sorted by latency, accuracy rising with it. Of equal points the first is kept.
    """
    points = [
        (late, -accurate, index)
        for index, (accurate, late) in enumerate(zip(accuracy, latency, strict=True))
        if accurate is not None
        and late is not None
        and math.isfinite(accurate)
        and math.isfinite(late)
    ]
    front: list[int] = []
    best = math.inf
    for _, loss, index in sorted(points):
        if loss < best:
            front.append(index)
            best = loss
    return front


def hypervolume(
    accuracy: Sequence[float | None],
    latency: Sequence[float | None],
    reference: tuple[float, float],
) -> float:
    """Compute the area that the points dominate, down to a reference point; exact.

    The measure of Zitzler and Thiele, "Multiobjective evolutionary algorithms: a comparative case study and the
    strength Pareto approach", IEEE Transactions on Evolutionary Computation 3(4), 1999.

    Args:
        accuracy: Figures to maximize; None and numbers that are not finite count nothing.
        latency: Figures to minimize, in the same order; likewise.
        reference: Worst accuracy and worst latency. Points not better in both count nothing.

    Returns:
        The area, in units of accuracy times latency; 0 without points.
    """
    worst_accuracy, worst_latency = reference
    front = [
        (float(latency[i] or 0.0), float(accuracy[i] or 0.0))
        for i in pareto_indices(accuracy, latency)
    ]
    inside = [(late, acc) for late, acc in front if late < worst_latency and acc > worst_accuracy]
    ends = [*(late for late, _ in inside), worst_latency][1:]
    return math.fsum(
        (end - late) * (acc - worst_accuracy) for (late, acc), end in zip(inside, ends, strict=True)
    )
