"""Closed formulas for the multiply-accumulates of each operator's training form, one image.

Counted are its convolution and linear modules; norms, pooling, activations and element-wise work are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spnas.architecture import ConvSite

Params = Mapping[str, float]


def gam(site: ConvSite, height: int, width: int, params: Params) -> int:
    """The convolution; a pair of 1x1 and a pair of 7x7 convolutions through `C // reduction` channels."""
    channels = site.out_channels
    hidden = channels // int(params["reduction"])
    return height * width * (_dense(site) + 2 * channels * hidden * (1 + 49))


def senetv2(site: ConvSite, height: int, width: int, params: Params) -> int:
    """The convolution; once an image, four dense layers to `C // reduction` channels and one back."""
    channels = site.out_channels
    hidden = channels // int(params["reduction"])
    return height * width * _dense(site) + 2 * channels * 4 * hidden


def rcs_osa(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A 3x3 and a 1x1 branch each: C to h, twice half of h to itself, 3 h to C; h is C / 2 rounded up to eights."""
    channels = site.out_channels
    hidden = max(8, (channels // 2 + 7) // 8 * 8)
    pairs = channels * hidden + 2 * (hidden // 2) ** 2 + 3 * hidden * channels
    return height * width * pairs * (9 + 1)


def mdcr(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A depthwise 3x3, a 4x4 matrix for each quarter of the channels, a 1x1 over all."""
    channels = site.out_channels
    return height * width * (9 * channels + 16 * (channels // 4) + channels**2)


def _dense(site: ConvSite) -> int:
    """Multiply-accumulates of the plain convolution for one output pixel."""
    return site.in_channels * site.out_channels * site.kernel_size**2


# Operator name to formula: site, output height and width in pixels, the choice's parameters.
MACS: dict[str, Callable[[ConvSite, int, int, Params], int]] = {
    "gam": gam,
    "mdcr": mdcr,
    "rcs-osa": rcs_osa,
    "senetv2": senetv2,
}
