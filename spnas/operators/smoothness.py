"""What operators assume of images when a kernel must be approximated without data: neighbouring pixels are alike.

Two pixels of a channel that are `(dy, dx)` apart correlate as `NEIGHBOUR_CORRELATION ** (|dy| + |dx|)`, and channels do
not correlate with each other. A kernel's output variance is then a quadratic form of its taps, and the best
approximation of a kernel by a smaller one is linear least squares.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spnas.operators.inheritance import OutputNorm

# The inputs of a trained YOLOv8n's 3x3 convolutions were measured to have 0.63 to 0.97, median 0.85. The exact value
# matters little: in that network 0.7 and 0.9 left errors within 4% of 0.8's.
NEIGHBOUR_CORRELATION = 0.8


def whitened_taps(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Give a convolution's taps in coordinates where squared lengths are output variances.

    Args:
        conv: A convolution of groups 1.

    Returns:
        The taps `(Cout, Cin, k * k)`, double precision, and the matrix `(k * k, k * k)` that taps in these coordinates
        are multiplied by from the right to be a kernel again.
    """
    values, vectors = torch.linalg.eigh(patch_correlation(conv))
    root = vectors * values.sqrt() @ vectors.T
    return conv.weight.double().flatten(2) @ root, vectors / values.sqrt() @ vectors.T


def centre_taps(conv: nn.Conv2d) -> Tensor:
    """Give the 1x1 kernels nearest to a convolution's k x k ones (k odd): the regression on the centre pixel.

    Returns:
        One weight for each pair of channels, `(Cout, Cin)`, double precision.
    """
    correlation = patch_correlation(conv)
    return conv.weight.double().flatten(2) @ correlation[:, len(correlation) // 2]


def shrunk(norm: OutputNorm, explained: Tensor, total: Tensor) -> OutputNorm:
    """Weigh a target's BatchNorm by how much of its variation the approximation explains.

    A BatchNorm brings any approximation to variance 1, what it got wrong included. The multiple of that nearest to the
    target is their correlation, the root of the explained share of the variance.

    Args:
        norm: The target's statistics and affine map.
        explained: Variance of the approximation, `(Cout,)`.
        total: Variance of the target under the same assumptions, `(Cout,)`.
    """
    share = torch.where(total > 0, explained / total, 1.0).clamp(0, 1).to(norm.weight.dtype)
    return OutputNorm(norm.mean, norm.variance * share, norm.weight * share.sqrt(), norm.bias)


def pixel_correlation(kernel_size: int, like: Tensor, dilation: int = 1) -> Tensor:
    """Give the assumed correlation between the pixels under each two taps of a kernel, `(k * k, k * k)`, row by row.

    Args:
        kernel_size: k of the k x k kernel.
        like: A tensor of the wanted device and type.
        dilation: Spacing of the kernel's taps.
    """
    steps = torch.arange(kernel_size, device=like.device, dtype=like.dtype)
    line = NEIGHBOUR_CORRELATION ** (dilation * (steps[:, None] - steps).abs())
    return torch.kron(line, line)


def patch_correlation(conv: nn.Conv2d) -> Tensor:
    """Give the correlation of the pixels under a convolution's kernel, `(k * k, k * k)`, double precision."""
    return pixel_correlation(conv.kernel_size[0], conv.weight.double(), conv.dilation[0])
