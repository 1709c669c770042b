"""The rcs-osa operator: reparameterized convolutions with channel shuffle, aggregated once.

Source: Kang et al., RCS-YOLO: A Fast and High-Accuracy Object Detector for Brain Tumor Detection, MICCAI 2023,
https://arxiv.org/abs/2307.16412; the block of RepVGG: https://arxiv.org/abs/2101.03697
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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
from spnas.operators.folding import fold_branches
from spnas.operators.inheritance import OutputNorm, output_norm
from spnas.operators.registry import register_operator
from spnas.operators.smoothness import pixel_correlation

_HIDDEN_MULTIPLE = 8
_TINY = 1e-12  # variance of a pruned filter's output, in place of zero


def hidden_channels(channels: int) -> int:
    """Count the channels inside the block: half of its own, rounded up to a multiple of 8."""
    return max(-(-(channels // 2) // _HIDDEN_MULTIPLE), 1) * _HIDDEN_MULTIPLE


@register_operator
class RCSOSA(Operator):
    """One-shot aggregation of shuffled RepVGG blocks: `out = last(concat(x1, x2, x3))`, a block in a 3x3's place.

    `x1 = first(x)` has h channels, half of C rounded up to a multiple of 8. `x2 = rcs(x1)` and `x3 = rcs(x2)`, where
    rcs passes the first half of its channels on, sends the others through a RepVGG block and shuffles both halves.

    Args:
        site: The convolution to replace; 3x3, as many input as output channels, stride 1.
        host: What surrounds it. Its activation is used inside too, ReLU where it has none.
    """

    name = "rcs-osa"

    def __init__(self, site: ConvSite, host: Host) -> None:
        super().__init__(site, host)
        hidden = hidden_channels(site.out_channels)
        self.first = RepVGG(site.in_channels, hidden, self.norm, inner_activation(host))
        self.second = RepVGG(hidden // 2, hidden // 2, self.norm, inner_activation(host))
        self.third = RepVGG(hidden // 2, hidden // 2, self.norm, inner_activation(host))
        self.last = RepVGG(3 * hidden, site.out_channels, self.norm, self.act)

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse sites whose tensor changes shape, and anything but a plain 3x3."""
        return reason_not_to_fit(site) or reason_not_3x3(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Start as the plain convolution's principal components: the best of the rank that the hidden channels allow.

        `first` makes the components, resting where its activation is nearly straight; the 1x1 of `last` makes the
        outputs from them. The other branches of these two start at zero.
        """
        norm, hidden = output_norm(conv, bn), self.first.k3.out_channels
        scale = norm.weight * (norm.variance + (bn.eps if bn else _TINY)).rsqrt()
        part = _principal_components(conv.weight, scale, norm.weight, hidden)
        used = len(part.filters)
        spare = (0, hidden - used)  # channels that no output reads yet
        self.first.only(self.first.bn3)
        self.first.k3.weight[:used] = part.filters
        mean = part.loadings.T @ (scale * norm.mean)
        rest(self.first.bn3, pad(mean, spare), pad(part.variance, spare, value=1.0))

        value, slope = straight_line(self.first.act, conv.weight)
        spread = (part.variance + self.first.bn3.eps).sqrt()
        columns = part.loadings * spread / (slope * SWING)
        self.last.only(self.last.bn1)
        self.last.k1.weight.zero_()
        self.last.k1.weight[:, :used, 0, 0] = columns
        # A component's part of an output is uncorrelated with what is missing, so it keeps its own size: the output's
        # standard deviation is less than the plain convolution's.
        explained = part.loadings.square() @ part.variance
        size = (explained + self.last.bn1.eps).sqrt()
        OutputNorm(columns.sum(1) * value, explained, size, norm.bias).write(self.last.bn1)

    def deploy(self) -> nn.Module:
        """Give four biased 3x3 convolutions, without branches, BatchNorms and shuffles."""
        return RCSOSADeployed(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        features = [self.first(x)]
        for block in (self.second, self.third):
            passed, worked = features[-1].chunk(2, 1)
            features.append(shuffle(torch.cat([passed, block(worked)], 1)))
        out: Tensor = self.last(torch.cat(features, 1))
        return out


def shuffle(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels of `(N, C, ...)`: first of one, first of the other, second of one..."""
    halves = x.reshape(x.shape[0], 2, -1, *x.shape[2:])
    return halves.transpose(1, 2).flatten(1, 2)


class RepVGG(nn.Module):
    """A RepVGG block: `act(BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x))`, the last where the channels are as many.

    Args:
        in_channels: Channels it reads.
        out_channels: Channels it writes.
        norm: Makes a BatchNorm of so many channels.
        act: The activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Callable[[int], nn.BatchNorm2d],
        act: nn.Module,
    ) -> None:
        super().__init__()
        self.k3 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn3 = norm(out_channels)
        self.k1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn1 = norm(out_channels)
        self.bn_identity = norm(in_channels) if in_channels == out_channels else None
        self.act = act

    def only(self, kept: nn.BatchNorm2d) -> None:
        """Silence every branch but the one that ends in the BatchNorm `kept`."""
        for bn in (self.bn3, self.bn1, self.bn_identity):
            if bn is not None and bn is not kept:
                nn.init.zeros_(bn.weight)
                nn.init.zeros_(bn.bias)

    def merged(self) -> nn.Conv2d:
        """Give the branches as one biased 3x3 convolution, equal in eval mode, without the activation."""
        return fold_branches((self.k3, self.bn3), (self.k1, self.bn1), self.bn_identity)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H, W)`."""
        y = self.bn3(self.k3(x)) + self.bn1(self.k1(x))
        out: Tensor = self.act(y if self.bn_identity is None else y + self.bn_identity(x))
        return out


class RCSOSADeployed(nn.Module):
    """An rcs-osa operator for inference: four biased 3x3 convolutions.

    x2 and x3 only repeat and reorder the channels of three tensors: x1 and what the two blocks made, r1 and r2. So the
    shuffles become an order of weights, and the columns of `last` that read the same channel are added up: it reads 2 h
    channels instead of 3 h.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: RCSOSA) -> None:
        super().__init__()
        blocks = (operator.first, operator.second, operator.third, operator.last)
        first, second, third, last = (block.merged() for block in blocks)
        self.split = first.out_channels // 2
        # The second rcs works on a shuffled half: channels of x1 at even, of r1 at odd places.
        _set_weight(third, torch.cat([third.weight[:, ::2], third.weight[:, 1::2]], 1))
        _set_weight(last, _columns_added(last.weight, self.split))
        self.first, self.second = _then(first, operator.first), _then(second, operator.second)
        self.third, self.last = _then(third, operator.third), _then(last, operator.last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        half, quarter = self.split, self.split // 2
        x1 = self.first(x)
        r1 = self.second(x1[:, half:])
        r2 = self.third(torch.cat([x1[:, quarter:half], r1[:, quarter:]], 1))
        out: Tensor = self.last(torch.cat([x1, r1, r2], 1))
        return out


def _set_weight(conv: nn.Conv2d, weight: Tensor) -> None:
    conv.weight, conv.in_channels = nn.Parameter(weight, requires_grad=False), weight.shape[1]


def _then(conv: nn.Conv2d, block: RepVGG) -> nn.Sequential:
    return nn.Sequential(conv, copy.deepcopy(block.act))


def _columns_added(weight: Tensor, half: int) -> Tensor:
    """Turn a kernel that reads `concat(x1, x2, x3)` into one that reads `concat(x1, r1, r2)`."""
    channels = torch.arange(4 * half, device=weight.device).unsqueeze(0)
    x1, r1, r2 = torch.split(channels, [2 * half, half, half], 1)
    x2 = shuffle(torch.cat([x1[:, :half], r1], 1))
    x3 = shuffle(torch.cat([x2[:, :half], r2], 1))
    read = torch.cat([x1, x2, x3], 1)[0]
    added = weight.new_zeros(len(weight), 4 * half, *weight.shape[2:])
    return added.index_add_(1, read, weight)


@dataclass(frozen=True)
class _Components:
    """Principal components of a plain convolution's normalized and scaled output, largest first.

    Attributes:
        filters: Kernels that make the components, `(n, Cin, k, k)`.
        loadings: What each output takes of each component, `(Cout, n)`; orthonormal columns.
        variance: Expected variances of the components, `(n,)`.
    """

    filters: Tensor
    loadings: Tensor
    variance: Tensor


def _principal_components(kernel: Tensor, scale: Tensor, size: Tensor, count: int) -> _Components:
    """Find the components under the assumed correlation of pixels, input channels uncorrelated and of equal variance.

    Args:
        kernel: The plain convolution's, `(Cout, Cin, k, k)`.
        scale: What each output is multiplied by, `(Cout,)`.
        size: The standard deviation that it has then, of any sign, `(Cout,)`.
        count: The number of components wanted; at most Cout are found.
    """
    taps = kernel.flatten(2)
    gram = torch.einsum("ict,tu,jcu->ij", taps, pixel_correlation(kernel.shape[2], kernel), taps)
    sized = size * gram.diagonal().clamp(min=_TINY).rsqrt()
    values, vectors = torch.linalg.eigh((gram * torch.outer(sized, sized)).double())
    loadings = vectors.flip(1)[:, :count].to(kernel)
    filters = torch.einsum("on,o,ocij->ncij", loadings, scale, kernel)
    return _Components(filters, loadings, values.flip(0)[:count].clamp(min=0).to(kernel))
