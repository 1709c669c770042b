"""Writing layers that are linear in eval mode as one: BatchNorms into the convolution before, a 1x1 into a k x k."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold(conv: nn.Conv2d, *norms: nn.BatchNorm2d | None) -> nn.Conv2d:
    """Fold the BatchNorms that follow a convolution, first one first, into a biased copy of it.

    Args:
        conv: The convolution; it is left untouched.
        norms: The BatchNorms in the order they are applied, None for one that is not there.

    Returns:
        A convolution equal to `norms[-1](... norms[0](conv(x)))` in eval mode, exact in real arithmetic.
    """
    folded = copy.deepcopy(conv)
    weight, bias = conv.weight.detach(), conv.bias
    bias = torch.zeros_like(weight[:, 0, 0, 0]) if bias is None else bias.detach()
    for bn in norms:
        if bn is not None:
            weight, bias = _folded(weight, bias, bn)
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
    return folded.requires_grad_(False)


def _folded(weight: Tensor, bias: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    pair = fuse_conv_bn_weights(
        weight, bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return pair[0].detach(), pair[1].detach()


@torch.no_grad()
def fold_branches(
    kxk: tuple[nn.Conv2d, nn.BatchNorm2d],
    pointwise: tuple[nn.Conv2d, nn.BatchNorm2d],
    identity: nn.BatchNorm2d | None,
) -> nn.Conv2d:
    """Write the sum of a k x k convolution, a 1x1 and the input itself, a BatchNorm after each, as one convolution.

    Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, https://arxiv.org/abs/2101.03697

    Args:
        kxk: The k x k convolution, odd k, and its BatchNorm.
        pointwise: The 1x1 convolution, without a bias, and its own.
        identity: That of the input, None where it is no branch.

    Returns:
        A biased k x k convolution, equal in eval mode, exact in real arithmetic.
    """
    merged, branches = fold(*kxk), [fold(*pointwise)]
    if identity is not None:
        dirac = copy.deepcopy(pointwise[0])
        nn.init.dirac_(dirac.weight)
        branches.append(fold(dirac, identity))
    centre = merged.kernel_size[0] // 2
    for branch in branches:
        assert merged.bias is not None
        assert branch.bias is not None
        merged.weight[:, :, centre, centre] += branch.weight[:, :, 0, 0]
        merged.bias += branch.bias
    return merged


def merge_pointwise(grouped: nn.Conv2d, pointwise: nn.Conv2d, span: int = 1) -> nn.Conv2d:
    """Write the sum of a grouped k x k convolution and a biased 1x1 of the same input as one dense convolution.

    Args:
        grouped: The k x k convolution, odd k, its bias not read.
        pointwise: The 1x1 convolution.
        span: The 1x1 reads averages of so many pixels squared, the first of them under the kernel's centre tap.
    """
    size = grouped.kernel_size[0]
    merged = nn.Conv2d(
        pointwise.in_channels,
        pointwise.out_channels,
        size,
        grouped.stride[0],
        grouped.padding[0],
        grouped.dilation[0],
        device=grouped.weight.device,
        dtype=grouped.weight.dtype,
    ).requires_grad_(False)
    groups = [part.flatten(1) for part in grouped.weight.detach().chunk(grouped.groups)]
    kernel: Tensor = torch.block_diag(*groups)  # type: ignore[no-untyped-call]
    kernel = kernel.view_as(merged.weight).contiguous()
    centre = slice(size // 2, size // 2 + span)
    kernel[:, :, centre, centre] += pointwise.weight.detach() / span**2
    merged.weight, merged.bias = nn.Parameter(kernel, requires_grad=False), pointwise.bias
    return merged


def scale(bn: nn.BatchNorm2d) -> Tensor:
    """Give the factor that a BatchNorm multiplies each channel by in eval mode, shape `(C,)`."""
    assert bn.running_var is not None
    return (bn.weight * torch.rsqrt(bn.running_var + bn.eps)).detach()
