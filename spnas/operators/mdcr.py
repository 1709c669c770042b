"""The mdcr operator: depthwise 3x3 convolutions of four dilations, mixed across groups, then mixed over all channels.

Source: Xu et al., HCF-Net: Hierarchical Context Fusion Network for Infrared Small Object Detection, ICME 2024,
https://arxiv.org/abs/2403.10778; dilations as in the authors' code, https://github.com/zhengshuchen/HCFNet
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.blocks import (
    SWING,
    inner_activation,
    reason_not_3x3,
    reason_not_to_fit,
    rest,
    straight_line,
)
from spnas.operators.folding import fold
from spnas.operators.inheritance import OutputNorm, output_norm
from spnas.operators.registry import register_operator
from spnas.operators.smoothness import pixel_correlation

DILATIONS = (1, 6, 12, 18)
GROUPS = len(DILATIONS)
_TINY = 1e-12  # energy of a pruned filter, in place of zero


@register_operator
class MDCR(Operator):
    """Multi-dilated channel refiner: `out = act(BN(outer(act(BN(inter(d))))))`, a block in a 3x3's place.

    `d = act(BN(concat(depthwise_i(x_i))))` for the four quarters x_i of the channels, with dilations 1, 6, 12 and 18.
    `inter` is one 4x4 matrix that mixes the j-th channels of the four groups, the same for every j; `outer` is a 1x1
    convolution over all channels.

    Args:
        site: The convolution to replace; 3x3, as many input as output channels, divisible by 4, stride 1.
        host: What surrounds it. Its activation is used inside too, ReLU where it has none.
    """

    name = "mdcr"

    def __init__(self, site: ConvSite, host: Host) -> None:
        super().__init__(site, host)
        channels = site.out_channels
        quarter = channels // GROUPS
        self.depthwise = nn.ModuleList(
            nn.Conv2d(quarter, quarter, 3, padding=d, dilation=d, groups=quarter, bias=False)
            for d in DILATIONS
        )
        self.depthwise_bns = nn.ModuleList(self.norm(quarter) for _ in DILATIONS)
        self.depthwise_act = inner_activation(host)
        self.inter = nn.Conv2d(GROUPS, GROUPS, 1, bias=False)
        self.inter_bn = self.norm(GROUPS)
        self.inter_act = inner_activation(host)
        self.outer = nn.Conv2d(channels, channels, 1, bias=False)
        self.outer_bn = self.norm(channels)

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse sites whose tensor changes shape, anything but a plain 3x3, and channels that 4 does not divide."""
        reason = reason_not_to_fit(site) or reason_not_3x3(site)
        if reason is None and site.in_channels % GROUPS:
            return f"expected channels divisible by {GROUPS}, got {site.in_channels}"
        return reason

    def dilated(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Pair each depthwise convolution with its BatchNorm."""
        pairs = zip(self.depthwise, self.depthwise_bns, strict=True)
        return cast("list[tuple[nn.Conv2d, nn.BatchNorm2d]]", list(pairs))

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Start as the best separable approximation: one kernel an input channel, and what each output takes of it.

        The quarter of dilation 1 takes the kernels that explain most; the others, whose outer taps are too far away,
        read their centre. Groups are not mixed at first. Input channels are taken to be uncorrelated and equally
        strong.
        """
        norm, eps = output_norm(conv, bn), bn.eps if bn else _TINY
        scale = norm.weight * (norm.variance + eps).rsqrt()
        kernels, weights, energy = _separable(conv.weight, scale, len(conv.weight) // GROUPS)
        # Variance of the input, and so of every depthwise output, from that of the plain convolution's output.
        strength = (norm.variance / energy.clamp(min=_TINY)).mean()
        for (depthwise, depthwise_bn), kernel in zip(
            self.dilated(), kernels.chunk(GROUPS), strict=True
        ):
            depthwise.weight.copy_(kernel.unsqueeze(1))
            level = torch.zeros_like(depthwise_bn.weight)
            rest(depthwise_bn, level, level + strength)
        value, slope = straight_line(self.depthwise_act, conv.weight)
        nn.init.dirac_(self.inter.weight)
        level = torch.full_like(self.inter_bn.weight, value)
        swing = slope * SWING
        rest(self.inter_bn, level, torch.full_like(level, swing**2))

        # Undo what a depthwise output is divided by, and what the two resting layers multiply it by.
        passed = swing**2 * (swing**2 + self.inter_bn.eps) ** -0.5
        columns = weights * (strength + self.outer_bn.eps).sqrt() / passed
        self.outer.weight.copy_(columns[:, :, None, None])
        # What is explained is uncorrelated with what is missing, so it keeps its own size.
        variance = norm.variance * weights.square().sum(1) / energy.clamp(min=_TINY)
        size = scale * (variance + self.outer_bn.eps).sqrt()
        mean = norm.mean + columns.sum(1) * value
        OutputNorm(mean, variance, size, norm.bias).write(self.outer_bn)

    def deploy(self) -> nn.Module:
        """Give the same module with each BatchNorm folded into the convolution before it."""
        return MDCRDeployed(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        pairs = zip(self.dilated(), x.chunk(GROUPS, 1), strict=True)
        y = torch.cat([bn(conv(part)) for (conv, bn), part in pairs], 1)
        y = side_by_side(self.depthwise_act(y))
        y = self.inter_act(self.inter_bn(self.inter(y))).reshape(x.shape)
        out: Tensor = self.act(self.outer_bn(self.outer(y)))
        return out


def side_by_side(x: Tensor) -> Tensor:
    """Lay the channels of each of four groups below each other: `(N, 4 j, H, W)` to `(N, 4, j H, W)`.

    A 1x1 convolution of four channels then mixes the groups, with the same weights for every j.
    """
    n, channels, height, width = x.shape
    return x.reshape(n, GROUPS, channels // GROUPS * height, width)


class MDCRDeployed(nn.Module):
    """An mdcr operator for inference: biased convolutions only.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: MDCR) -> None:
        super().__init__()
        self.depthwise = nn.ModuleList(fold(conv, bn) for conv, bn in operator.dilated())
        self.inter = fold(operator.inter, operator.inter_bn)
        self.outer = fold(operator.outer, operator.outer_bn)
        acts = (operator.depthwise_act, operator.inter_act, operator.act)
        self.depthwise_act, self.inter_act, self.act = (copy.deepcopy(act) for act in acts)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        pairs = zip(self.depthwise, x.chunk(GROUPS, 1), strict=True)
        y = self.depthwise_act(torch.cat([conv(part) for conv, part in pairs], 1))
        y = self.inter_act(self.inter(side_by_side(y))).reshape(x.shape)
        out: Tensor = self.act(self.outer(y))
        return out


def _separable(kernel: Tensor, scale: Tensor, free: int) -> tuple[Tensor, Tensor, Tensor]:
    """Approximate a kernel by one small kernel an input channel and a matrix, under the assumed correlation of pixels.

    Args:
        kernel: The plain convolution's, `(Cout, Cin, k, k)`.
        scale: What each output is multiplied by, `(Cout,)`: by it outputs count.
        free: How many of the first input channels may have any small kernel; that of the others is the centre tap.

    Returns:
        The small kernels `(Cin, k, k)`, each of which gives unit variance for input of unit variance; the matrix
        `(Cout, Cin)`; and the variance of the plain convolution's outputs for such input, `(Cout,)`.
    """
    k = kernel.shape[2]
    taps = kernel.flatten(2)
    correlation = pixel_correlation(k, kernel)
    seen = taps @ correlation
    energy = (seen * taps).sum((1, 2))
    # With correlation = L L^T and e = L^T d, the kernel d of unit variance that explains most has the largest
    # eigenvector e of L^T M L, where M sums the outputs' outer products.
    factor = torch.linalg.cholesky(correlation)
    scaled = taps[:, :free] * scale[:, None, None]
    whitened = (scaled @ factor).transpose(0, 1)
    _, vectors = torch.linalg.eigh((whitened.transpose(1, 2) @ whitened).double())
    best = torch.linalg.solve(factor.T.double(), vectors[:, :, -1].T).T
    small = torch.zeros_like(taps[0])
    small[:, k * k // 2] = 1
    small[:free] = best.to(small)
    weights = torch.einsum("oct,ct->oc", seen, small)
    return small.view(-1, k, k), weights, energy
