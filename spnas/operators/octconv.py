"""The octconv operator: a share of the channels lives at half the resolution.

Source: Chen et al., Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave
Convolution, ICCV 2019, https://arxiv.org/abs/1904.05049
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
from spnas.operators.registry import register_operator
from spnas.operators.regression import regress_on_means
from spnas.operators.smoothness import shrunk, whitened_taps


class UpsampleLike(nn.Module):
    """Nearest upsampling to twice the size, or to one pixel less where that is odd."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Map `(N, C, ceil(H / 2), ceil(W / 2))` to `(N, C, H, W)`, H and W those of `like`."""
        return nn.functional.interpolate(x, size=like.shape[2:], mode="nearest")


def _halve() -> nn.AvgPool2d:
    """Make 2x2 average pooling that, at odd sizes, averages the last row and column over the pixels that exist."""
    return nn.AvgPool2d(2, 2, ceil_mode=True)


@register_operator
class OctConv(Operator):
    """Octave convolution between two full-resolution tensors: `out = act(concat(BN(yh), up(BN(yl))))`.

    `yh = hh(xh) + up(lh(xl))` and `yl = ll(xl) + hl(pool(xh))`, four k x k convolutions of stride 1, for the high
    frequencies xh (the first channels) and the low ones `xl = pool` of the last `int(alpha * Cin)` channels. At stride
    2 the paper pools before it convolves: xh and the xl that ll reads are averaged once more, and lh, whose input has
    the output's size already, is not upsampled.

    Args:
        site: The convolution to replace, of stride 1 or 2.
        host: What surrounds it.
        alpha: Share of low-frequency channels, in the input and in the output.
    """

    name = "octconv"

    def __init__(self, site: ConvSite, host: Host, *, alpha: float) -> None:
        super().__init__(site, host, alpha=alpha)
        low_in, low_out = (share_of(n, alpha) for n in (site.in_channels, site.out_channels))
        self.split = site.in_channels - low_in
        high_out = site.out_channels - low_out
        self.hh = self._conv(self.split, high_out, bias=not host.bn)
        self.lh = self._conv(low_in, high_out)
        self.hl = self._conv(self.split, low_out)
        self.ll = self._conv(low_in, low_out, bias=not host.bn)
        self.bn_high = self.norm(high_out) if host.bn else None
        self.bn_low = self.norm(low_out) if host.bn else None
        self.pool, self.upsample = _halve(), UpsampleLike()
        self.stride_pool: nn.Module = _halve() if site.stride == 2 else nn.Identity()

    def _conv(self, c_in: int, c_out: int, bias: bool = False) -> nn.Conv2d:
        k, padding, dilation = self.site.kernel_size, self.site.padding, self.site.dilation
        return nn.Conv2d(c_in, c_out, k, padding=padding, dilation=dilation, bias=bias)

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse an alpha that leaves a part empty, strides above 2 and kernels that change the size."""
        alpha = params["alpha"]
        if not 0 < alpha < 1:
            return f"expected an alpha between 0 and 1, got {alpha:g}"
        for channels, side in ((site.in_channels, "input"), (site.out_channels, "output")):
            if not 1 <= share_of(channels, alpha) < channels:
                return f"alpha {alpha:g} of {channels} {side} channels leaves a part empty"
        if site.stride > 2:
            return f"expected stride 1 or 2, got {site.stride}"
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Regress the plain output on the pixels, or means of pixels, that each path reads, on smooth images.

        A low output stands for a square of outputs, so its target is their mean.
        """
        explained = self._inherit_paths(conv)
        taps, _ = whitened_taps(conv)
        norm = shrunk(output_norm(conv, bn), explained, taps.square().sum((1, 2)))
        high, low = norm[: self.hh.out_channels], norm[self.hh.out_channels :]
        for path, own, part in ((self.hh, self.bn_high, high), (self.ll, self.bn_low, low)):
            if path.bias is not None:
                path.bias.copy_(part.bias)
            if own is not None:
                part.write(own)

    def _inherit_paths(self, conv: nn.Conv2d) -> Tensor:
        """Set the four kernels; give the variance of what they make, `(Cout,)`, on smooth images."""
        stride, k = self.site.stride, self.site.kernel_size
        high, low = slice(self.hh.out_channels), slice(self.hh.out_channels, None)
        x_high, x_low = slice(self.split), slice(self.split, None)
        explained = torch.zeros_like(conv.weight[:, 0, 0, 0], dtype=torch.float64)
        for path, rows, columns, width, centres in (
            (self.hh, high, x_high, stride, (0,)),
            (self.lh, high, x_low, 2, (0,) if stride == 2 else (0, 1)),
            (self.hl, low, x_high, 2 * stride, (0, stride)),
            (self.ll, low, x_low, 2 * stride, (0, stride)),
        ):
            starts = [width * self.site.dilation * (tap - k // 2) for tap in range(k)]
            weights, variance = regress_on_means(
                conv.weight[rows, columns], self.site.dilation, starts, width, centres
            )
            path.weight.copy_(weights)
            explained[rows] += variance.sum(1)
        return explained

    def deploy(self) -> nn.Module:
        """Give the form with the BatchNorms folded and paths of the same input and output merged."""
        return OctConvDeployed(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        x_high, x_low = self.stride_pool(x[:, : self.split]), self.pool(x[:, self.split :])
        high, from_low = self.hh(x_high), self.lh(x_low)
        high = high + (from_low if self.site.stride == 2 else self.upsample(from_low, high))
        low = self.ll(self.stride_pool(x_low)) + self.hl(self.pool(x_high))
        if self.bn_high is not None and self.bn_low is not None:
            high, low = self.bn_high(high), self.bn_low(low)
        out: Tensor = self.act(torch.cat([high, self.upsample(low, high)], 1))
        return out


class OctConvDeployed(nn.Module):
    """An octave convolution for inference: three convolutions at stride 1, two at stride 2.

    `hl` and `ll` read the same pixels once all channels are pooled together, and so do `hh` and `lh` at stride 2: each
    of these pairs is one convolution of all input channels.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: OctConv) -> None:
        super().__init__()
        self.split = operator.split
        hh, lh = fold(operator.hh, operator.bn_high), fold(operator.lh, operator.bn_high)
        hl, ll = fold(operator.hl, operator.bn_low), fold(operator.ll, operator.bn_low)
        strided = operator.site.stride == 2
        self.high = _merged(hh, lh) if strided else hh
        self.lh = None if strided else lh
        if self.lh is not None:
            self.lh.bias = None  # the same shift as in hh's bias, needed once
        self.low = _merged(hl, ll)
        self.low.bias = ll.bias  # without a BatchNorm, hl has none
        self.pool, self.upsample = _halve(), UpsampleLike()
        self.act = copy.deepcopy(operator.act)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        pooled = self.pool(x)
        if self.lh is None:
            high, low = self.high(pooled), self.low(self.pool(pooled))
        else:
            high, low = self.high(x[:, : self.split]), self.low(pooled)
            high = high + self.upsample(self.lh(pooled[:, self.split :]), high)
        out: Tensor = self.act(torch.cat([high, self.upsample(low, high)], 1))
        return out


def _merged(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Give one convolution of both inputs' channels, `second` after `first`: the sum, with the bias of `first` only."""
    merged = copy.deepcopy(first)
    merged.in_channels += second.in_channels
    merged.weight = nn.Parameter(torch.cat([first.weight, second.weight], 1), requires_grad=False)
    return merged
