"""The kernels nearest to a plain convolution's where an operator reads means of pixels instead of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spnas.operators.smoothness import NEIGHBOUR_CORRELATION


def regress_on_means(
    kernel: Tensor,
    dilation: int,
    starts: Sequence[int],
    width: int = 1,
    centres: Sequence[int] = (0,),
) -> tuple[Tensor, Tensor]:
    """Regress a convolution's output on means of `width` x `width` pixels, on smooth images (`smoothness`).

    Along each axis, the a-th mean begins at pixel `starts[a]`, and the target is the mean of the outputs whose kernels
    are centred on the pixels `centres`. Pixels correlate along the two axes independently, so the regression on a
    square of means is one matrix applied along either axis.

    Args:
        kernel: The convolution's weight, `(Cout, Cin, k, k)`, k odd.
        dilation: Spacing of its taps.
        starts: First pixel of each mean, all different.
        width: Pixels of a mean, along each axis.
        centres: Pixels that the kernels are centred on.

    Returns:
        The weights of the means, `(Cout, Cin, m, m)` for m starts, and the variance of their weighted sum, `(Cout,
        Cin)`, in units of a pixel's. Both in double precision.
    """
    k = kernel.shape[-1]
    taps = [[centre + dilation * (tap - k // 2) for centre in centres] for tap in range(k)]
    means = [[start + pixel for pixel in range(width)] for start in starts]
    gram, cross = _covariance(means, means), _covariance(taps, means)
    matrix = torch.linalg.solve(gram, cross.T).to(kernel.device)
    gram = gram.to(kernel.device)
    weights = matrix @ kernel.double() @ matrix.T
    variance = (weights * (gram @ weights @ gram)).sum((2, 3))
    return weights, variance


def _covariance(first: list[list[int]], second: list[list[int]]) -> Tensor:
    """Give the covariances between means over groups of positions on a line, `(len(first), len(second))`."""
    a = torch.tensor(first, dtype=torch.float64)[:, None, :, None]
    b = torch.tensor(second, dtype=torch.float64)[None, :, None, :]
    covariance: Tensor = (NEIGHBOUR_CORRELATION ** (a - b).abs()).mean((2, 3))
    return covariance
