"""The dwsep operator: a depthwise k x k convolution, then a 1x1.

Source: Chollet, Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017,
https://arxiv.org/abs/1610.02357
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold
from spnas.operators.inheritance import output_norm
from spnas.operators.least_squares import fit_pointwise, level, plain_output
from spnas.operators.registry import register_operator
from spnas.operators.smoothness import shrunk, whitened_taps


@register_operator
class DepthwiseSeparable(Operator):
    """Depthwise separable convolution: `out = act(BN(pointwise_1x1(depthwise_kxk(x))))`.

    Nothing stands between the two, as in Xception, whose author found that an activation there does harm. MobileNet has
    a BatchNorm and an activation there.

    Args:
        site: The convolution to replace; any.
        host: What surrounds it.
    """

    name = "dwsep"

    def __init__(self, site: ConvSite, host: Host) -> None:
        super().__init__(site, host)
        channels = site.in_channels
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            site.kernel_size,
            site.stride,
            site.padding,
            site.dilation,
            groups=channels,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels, site.out_channels, 1, bias=not host.bn)
        self.bn_out = self.norm(site.out_channels) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Take every site."""
        return None

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Take for each input channel the best pair of one kernel and Cout weights: the leading singular vectors."""
        taps, to_kernel = whitened_taps(conv)
        by_channel = taps.transpose(0, 1)  # (Cin, Cout, k * k)
        _, vectors = torch.linalg.eigh(by_channel.mT @ by_channel)  # ascending
        direction = vectors[:, :, -1]
        weights = (by_channel @ direction[:, :, None]).squeeze(2).T
        self.depthwise.weight.copy_((direction @ to_kernel).view_as(self.depthwise.weight))
        self.pointwise.weight.copy_(weights[:, :, None, None])
        norm = output_norm(conv, bn)
        if self.pointwise.bias is not None:
            self.pointwise.bias.copy_(norm.bias)
        if self.bn_out is not None:
            explained = weights.square().sum(1)
            shrunk(norm, explained, taps.square().sum((1, 2))).write(self.bn_out)

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Keep the inherited depthwise kernels and regress the plain output on their maps."""
        self.inherit(conv, bn)
        features, targets = self.depthwise(inputs), plain_output(conv, bn, inputs)
        fit_pointwise(self.pointwise, features, targets)
        made = nn.functional.conv2d(features, self.pointwise.weight)
        level(self.bn_out, self.pointwise, made, targets)

    def deploy(self) -> nn.Module:
        """Give the two convolutions, the BatchNorm folded into the 1x1, and the activation."""
        parts = self.depthwise, fold(self.pointwise, self.bn_out), self.act
        return copy.deepcopy(nn.Sequential(*parts)).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.pointwise(self.depthwise(x))
        out: Tensor = self.act(y if self.bn_out is None else self.bn_out(y))
        return out
