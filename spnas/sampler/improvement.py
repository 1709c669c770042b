"""Expected hypervolume improvement where one objective is known and the other is Gaussian; exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from spnas.runs.pareto import pareto_indices

Floats = NDArray[np.float64]


def expected_hypervolume_improvement(
    mean: Floats,
    std: Floats,
    latency: Floats,
    front: tuple[Floats, Floats],
    reference: tuple[float, float],
) -> Floats:
    """Compute by how much each candidate is expected to enlarge the area that a front dominates.

    With its latency t known, a candidate of accuracy f adds the integral over latencies from t to the worst one of
    max(0, f - h), h being the best accuracy of the front up to there. h is a staircase, so the expectation is a sum of
    expected improvements over its steps, weighted by their widths. The general case, both objectives uncertain, is in
    Emmerich, Deutz and Klinkenberg, "Hypervolume-based expected improvement", CEC 2011.

    Args:
        mean: Of the candidates' accuracies, (N,).
        std: Of them, (N,).
        latency: Of the candidates, (N,).
        front: Accuracies and latencies of what is known, in any order; dominated points do no harm.
        reference: Worst accuracy and worst latency that count.

    Returns:
        In units of accuracy times latency, (N,).
    """
    worst_accuracy, worst_latency = reference
    accuracies, latencies = front
    chosen = [
        i for i in pareto_indices(list(accuracies), list(latencies)) if latencies[i] < worst_latency
    ]
    steps = np.concatenate([[-np.inf], latencies[chosen], [worst_latency]])
    heights = np.maximum(np.concatenate([[-np.inf], accuracies[chosen]]), worst_accuracy)
    # Width of each step right of the candidate, (N, steps).
    widths = np.maximum(steps[1:] - np.maximum(latency[:, None], steps[:-1]), 0.0)
    return np.asarray((widths * _expected_improvement(mean, std, heights)).sum(1))


def _expected_improvement(mean: Floats, std: Floats, heights: Floats) -> Floats:
    """E[max(0, f - h)] for f ~ N(mean, std^2), (N, heights)."""
    gap = mean[:, None] - heights
    deviation = np.maximum(std, 1e-12)[:, None]
    z = gap / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(np.maximum(gap * ndtr(z) + deviation * density, 0.0))
