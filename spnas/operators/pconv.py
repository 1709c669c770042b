"""The pconv operator: a k x k convolution of a few channels among themselves, then a 1x1 over all.

Source: Chen et al., Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks (FasterNet), CVPR 2023,
https://arxiv.org/abs/2303.03667
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold
from spnas.operators.geometry import off_centre, share_of
from spnas.operators.inheritance import output_norm
from spnas.operators.least_squares import fit_pointwise, level, plain_output
from spnas.operators.registry import register_operator
from spnas.operators.smoothness import centre_taps, shrunk, whitened_taps


class PartialConv(nn.Module):
    """PConv: a convolution of the first channels to as many; the others pass through.

    Args:
        site: The k x k convolution of stride 1 whose kernel, padding and dilation are taken.
        channels: How many channels are convolved.
    """

    def __init__(self, site: ConvSite, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(
            channels,
            channels,
            site.kernel_size,
            padding=site.padding,
            dilation=site.dilation,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        # One split: the gradients of two slices are two tensors of full size, and contiguous.
        worked, passed = torch.split(x, [self.channels, x.shape[1] - self.channels], 1)
        return torch.cat([self.conv(worked), passed], 1)


@register_operator
class PartialPointwise(Operator):
    """Partial convolution and a 1x1: `out = act(BN(pointwise_1x1(concat(conv_kxk(x[:, :Cp]), x[:, Cp:]))))`.

    `Cp = int(ratio * Cin)`. As in FasterNet's block, nothing stands between the two convolutions.

    Args:
        site: The convolution to replace, of stride 1.
        host: What surrounds it.
        ratio: Share of the input channels that the k x k convolution works on, 1/4 in the paper.
    """

    name = "pconv"

    def __init__(self, site: ConvSite, host: Host, *, ratio: float) -> None:
        super().__init__(site, host, ratio=ratio)
        self.partial = PartialConv(site, share_of(site.in_channels, ratio))
        self.pointwise = nn.Conv2d(site.in_channels, site.out_channels, 1, bias=not host.bn)
        self.bn_out = self.norm(site.out_channels) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse a ratio that leaves a part empty, and geometries in which the other channels cannot pass through."""
        ratio = params["ratio"]
        if not 0 < ratio < 1:
            return f"expected a ratio between 0 and 1, got {ratio:g}"
        if not 1 <= share_of(site.in_channels, ratio) < site.in_channels:
            return f"ratio {ratio:g} of {site.in_channels} input channels leaves a part empty"
        if site.stride != 1:
            return f"expected stride 1, got {site.stride}: the other channels keep their size"
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Factor the first channels' kernels at the rank that there is room for; read the others' centre pixels.

        The leading right singular vectors of the kernels become the partial convolution, the left ones times the
        singular values the 1x1.
        """
        count = self.partial.conv.out_channels
        taps, to_kernel = whitened_taps(conv)
        left, values, right = torch.linalg.svd(taps[:, :count].flatten(1), full_matrices=False)
        rank = min(count, len(values))
        kernels = right[:rank].view(rank, count, -1) @ to_kernel
        # Filters beyond the rank keep their random kernels, which the 1x1 does not read yet: training can use them.
        filters = self.partial.conv.weight[:rank]
        filters.copy_(kernels.view_as(filters))
        weights = centre_taps(conv)
        weights[:, :count] = 0
        weights[:, :rank] = left[:, :rank] * values[:rank]
        self.pointwise.weight.copy_(weights[:, :, None, None])
        norm = output_norm(conv, bn)
        if self.pointwise.bias is not None:
            self.pointwise.bias.copy_(norm.bias)
        if self.bn_out is not None:
            shrunk(norm, weights.square().sum(1), taps.square().sum((1, 2))).write(self.bn_out)

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Keep the inherited k x k kernels and regress the plain output on their maps and the other channels."""
        self.inherit(conv, bn)
        features, targets = self.partial(inputs), plain_output(conv, bn, inputs)
        fit_pointwise(self.pointwise, features, targets)
        made = nn.functional.conv2d(features, self.pointwise.weight)
        level(self.bn_out, self.pointwise, made, targets)

    def deploy(self) -> nn.Module:
        """Give the two convolutions, the BatchNorm folded into the 1x1, and the activation."""
        parts = self.partial, fold(self.pointwise, self.bn_out), self.act
        return copy.deepcopy(nn.Sequential(*parts)).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H, W)`."""
        y = self.pointwise(self.partial(x))
        out: Tensor = self.act(y if self.bn_out is None else self.bn_out(y))
        return out
