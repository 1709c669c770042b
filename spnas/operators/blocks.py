"""What operators share that are more than one convolution: where they fit, and how they start from a plain one.

A block has activations between its convolutions; to start near a plain convolution these must do little. `rest` places
the values before an activation where common activations are nearly straight lines, and `straight_line` tells which
line, so that the next layer can undo it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host
from spnas.operators.inheritance import OutputNorm

# SiLU's second derivative is zero near 2.4 (x tanh(x / 2) = 2), and ReLU's and LeakyReLU's kink is almost five swings
# away. A smaller swing would be straighter still, but half precision rounds values around 2.4 to 0.002 or 0.016.
RESTING_POINT = 2.4
SWING = 0.5
_SMALLEST_SLOPE = 1e-2  # an activation flat at the resting point must not become a division by zero


def reason_not_to_fit(site: ConvSite) -> str | None:
    """Say why an attention add-on or a block has no place at the site; None where its tensor keeps its shape."""
    if site.in_channels != site.out_channels:
        return (
            "expected as many input as output channels, "
            f"got {site.in_channels} and {site.out_channels}"
        )
    if site.stride != 1:
        return f"expected stride 1, got {site.stride}"
    return None


def reason_not_3x3(site: ConvSite) -> str | None:
    """Say why a block of 3x3 convolutions has no place at the site; None where it takes a plain 3x3's place."""
    if site.kernel_size != 3:
        return f"expected a 3x3 kernel, got {site.kernel_size}x{site.kernel_size}"
    if site.dilation != 1 or site.padding != 1:
        return f"expected dilation 1 and padding 1, got {site.dilation} and {site.padding}"
    return None


def inner_activation(host: Host, linear: nn.Module | None = None) -> nn.Module:
    """Copy the host's activation for use between layers, never in place.

    Args:
        host: What surrounds the operator.
        linear: What is used where the host is linear; None for ReLU, since without any activation between them the
            layers of a block would be one convolution.
    """
    act = (linear or nn.ReLU()) if host.act is None else copy.deepcopy(host.act)
    if hasattr(act, "inplace"):
        setattr(act, "inplace", False)  # noqa: B010 - nn.Module's attributes are typed as tensors or modules
    return act


def rest(bn: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Make a BatchNorm's output swing by `SWING` around `RESTING_POINT`.

    Args:
        bn: The BatchNorm to set, of C channels.
        mean: Expected mean of its input, shape `(C,)`.
        variance: Expected variance of its input, shape `(C,)`.
    """
    swing = torch.full_like(mean, SWING)
    OutputNorm(mean, variance, swing, torch.full_like(mean, RESTING_POINT)).write(bn)


@torch.no_grad()
def straight_line(act: nn.Module, like: Tensor) -> tuple[float, float]:
    """Give an activation's value at the resting point and the slope of its chord over one swing on either side.

    Args:
        act: The activation.
        like: A tensor of the device and type to evaluate it on.
    """
    points = RESTING_POINT + SWING * torch.tensor([-1.0, 0.0, 1.0])
    # A batch of three single pixels, each in a call of its own: the form that any activation takes.
    low, middle, high = (float(act(p.to(like).view(1, 1, 1, 1))) for p in points)
    slope = (high - low) / (2 * SWING)
    return middle, slope if abs(slope) > _SMALLEST_SLOPE else _SMALLEST_SLOPE
