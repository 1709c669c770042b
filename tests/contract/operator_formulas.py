"""Closed formulas for the multiply-accumulates of each operator's training form, one image.

Counted are its convolution and linear modules; norms, pooling, activations and element-wise work are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from spnas.architecture import ConvSite

Params = Mapping[str, float]


def dualconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A k x k in `1 / ratio` groups and a 1x1 over all channels."""
    pixels = height * width
    return pixels * round(_dense(site) * params["ratio"]) + pixels * _pointwise(site)


def dwsep(site: ConvSite, height: int, width: int, params: Params) -> int:
    """One k x k kernel an input channel, at the output's size, and a 1x1."""
    return height * width * (site.in_channels * site.kernel_size**2 + _pointwise(site))


def hetconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """As dualconv: the 1x1's zeros within the groups are multiplied as well."""
    return dualconv(site, height, width, params)


def hwd(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A 1x1 over the four bands of each input channel; the transform is additions."""
    return height * width * 4 * _pointwise(site)


def ldconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A 3x3 to two offsets a point, and one weight a point and pair of channels."""
    points = round(params["points"])
    return height * width * points * (2 * 9 * site.in_channels + _pointwise(site))


def octconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """Of the four paths, hh alone runs at the output's size, at stride 2 lh too, the others at half of it."""
    low_in, low_out = (
        math.floor(params["alpha"] * count + 1e-6)
        for count in (site.in_channels, site.out_channels)
    )
    high_in, high_out = site.in_channels - low_in, site.out_channels - low_out
    full, half = high_in * high_out, site.in_channels * low_out
    if site.stride == 2:
        full += low_in * high_out
    else:
        half += low_in * high_out
    pixels, few = height * width, math.ceil(height / 2) * math.ceil(width / 2)
    return site.kernel_size**2 * (pixels * full + few * half)


def pconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A k x k of `Cp` channels among themselves and a 1x1 over all channels."""
    convolved = math.floor(params["ratio"] * site.in_channels + 1e-6)
    return height * width * ((convolved * site.kernel_size) ** 2 + _pointwise(site))


def regular(site: ConvSite, height: int, width: int, params: Params) -> int:
    return height * width * _dense(site)


def repconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """The k x k and the 1x1 branch; the identity branch is a BatchNorm."""
    return height * width * (_dense(site) + _pointwise(site))


def ghost(site: ConvSite, height: int, width: int, params: Params) -> int:
    """The primary convolution makes `m = ceil(Cout / r)` channels, a depthwise 3x3 `m (r - 1)` more."""
    r = round(1 / params["ratio"])
    made = math.ceil(site.out_channels / r)
    return height * width * (site.in_channels * made * site.kernel_size**2 + made * (r - 1) * 9)


def spconv(site: ConvSite, height: int, width: int, params: Params) -> int:
    """A k x k in two groups (one where a count is odd) and a 1x1 on `Cr` channels, a 1x1 on the others."""
    read = math.floor(params["ratio"] * site.in_channels + 1e-6)
    groups = 1 if read % 2 or site.out_channels % 2 else 2
    per_output = read * site.kernel_size**2 // groups + site.in_channels
    return height * width * site.out_channels * per_output


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


def _pointwise(site: ConvSite) -> int:
    """Multiply-accumulates of a 1x1 convolution for one output pixel."""
    return site.in_channels * site.out_channels


# Operator name to formula: site, output height and width in pixels, the choice's parameters.
MACS: dict[str, Callable[[ConvSite, int, int, Params], int]] = {
    "dualconv": dualconv,
    "dwsep": dwsep,
    "gam": gam,
    "ghost": ghost,
    "hetconv": hetconv,
    "mdcr": mdcr,
    "hwd": hwd,
    "ldconv": ldconv,
    "octconv": octconv,
    "pconv": pconv,
    "rcs-osa": rcs_osa,
    "regular": regular,
    "senetv2": senetv2,
    "repconv": repconv,
    "spconv": spconv,
}
