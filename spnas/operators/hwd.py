"""The hwd operator: a Haar wavelet transform halves the size, a 1x1 convolution reads its four bands.

Source: Xu et al., Haar wavelet downsampling: A simple but effective downsampling module for semantic segmentation,
Pattern Recognition 143, 2023, https://www.sciencedirect.com/science/article/pii/S0031320323005174
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold
from spnas.operators.geometry import off_centre
from spnas.operators.inheritance import output_norm
from spnas.operators.least_squares import fit_pointwise, level, plain_output
from spnas.operators.registry import register_operator
from spnas.operators.regression import regress_on_means
from spnas.operators.smoothness import shrunk, whitened_taps


class EvenSize(nn.Module):
    """Zeros after the last row and column where their count is odd."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C, H + 1, W + 1)` if H or W is odd; what follows drops a row or column too many.

        A traced graph pads always, because it may be run at other sizes. Runtimes merge that into the convolution.
        """
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        padded: Tensor = self.pad(x) if traced or x.shape[2] % 2 or x.shape[3] % 2 else x
        return padded


class Haar(nn.Module):
    """One level of the two-dimensional orthonormal Haar transform."""

    def __init__(self) -> None:
        super().__init__()
        self.even = EvenSize()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, 4C, ceil(H / 2), ceil(W / 2))`, band by band in the order of `haar_basis`."""
        x = self.even(x)
        x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        top, bottom = x[:, :, ::2], x[:, :, 1::2]
        total, difference = (top + bottom) / 2, (top - bottom) / 2
        left, right = (..., slice(0, None, 2)), (..., slice(1, None, 2))
        return torch.cat(
            [
                total[left] + total[right],
                difference[left] + difference[right],
                total[left] - total[right],
                difference[left] - difference[right],
            ],
            1,
        )


def haar_basis() -> Tensor:
    """Give the four bands' weights of a square of four pixels, `(4, 2, 2)`, orthonormal.

    The mean (times two), then horizontal, vertical and diagonal detail: differences of rows, of columns and of both.
    """
    squares = [
        [[1, 1], [1, 1]],
        [[1, 1], [-1, -1]],
        [[1, -1], [1, -1]],
        [[1, -1], [-1, 1]],
    ]
    return torch.tensor(squares, dtype=torch.float64) / 2


@register_operator
class HaarDownsampling(Operator):
    """Haar wavelet downsampling: `out = act(BN(conv_1x1(Haar(x))))`, for sites of stride 2.

    The Haar transform makes 4 Cin channels of half the size: nothing is lost before the 1x1 chooses. At odd sizes zeros
    are added after the last row or column, as in the authors' code.

    Args:
        site: The convolution to replace, of stride 2.
        host: What surrounds it.
    """

    name = "hwd"

    def __init__(self, site: ConvSite, host: Host) -> None:
        super().__init__(site, host)
        self.haar = Haar()
        self.pointwise = nn.Conv2d(4 * site.in_channels, site.out_channels, 1, bias=not host.bn)
        self.bn_out = self.norm(site.out_channels) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse strides other than 2, and geometries whose output is not half the size, rounded up."""
        if site.stride != 2:
            return f"expected stride 2, got {site.stride}: the Haar transform halves the size"
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Regress the plain output on the four pixels of each square, on smooth images, and write that in bands."""
        pixels, variance = regress_on_means(conv.weight, self.site.dilation, starts=(0, 1))
        bands = torch.einsum("oiyx,byx->boi", pixels, haar_basis().to(pixels.device))
        self.pointwise.weight.copy_(torch.cat(list(bands), 1)[:, :, None, None])
        norm = output_norm(conv, bn)
        if self.pointwise.bias is not None:
            self.pointwise.bias.copy_(norm.bias)
        if self.bn_out is not None:
            taps, _ = whitened_taps(conv)
            shrunk(norm, variance.sum(1), taps.square().sum((1, 2))).write(self.bn_out)

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Regress the plain output on the bands."""
        features, targets = self.haar(inputs), plain_output(conv, bn, inputs)
        fit_pointwise(self.pointwise, features, targets)
        made = nn.functional.conv2d(features, self.pointwise.weight)
        level(self.bn_out, self.pointwise, made, targets)

    def deploy(self) -> nn.Module:
        """Give one biased 2x2 convolution of stride 2: the BatchNorm, the 1x1 and the transform are one linear map."""
        pointwise = fold(self.pointwise, self.bn_out)
        merged = nn.Conv2d(self.site.in_channels, self.site.out_channels, 2, 2)
        bands = pointwise.weight.view(self.site.out_channels, 4, -1)
        basis = haar_basis().to(bands)
        merged.weight = nn.Parameter(torch.einsum("obi,byx->oiyx", bands, basis))
        merged.bias = pointwise.bias
        return (
            nn.Sequential(EvenSize(), merged, copy.deepcopy(self.act)).requires_grad_(False).eval()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.pointwise(self.haar(x))
        out: Tensor = self.act(y if self.bn_out is None else self.bn_out(y))
        return out
