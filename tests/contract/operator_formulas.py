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


def _dense(site: ConvSite) -> int:
    """Multiply-accumulates of the plain convolution for one output pixel."""
    return site.in_channels * site.out_channels * site.kernel_size**2


# Operator name to formula: site, output height and width in pixels, the choice's parameters.
MACS: dict[str, Callable[[ConvSite, int, int, Params], int]] = {
    "gam": gam,
    "senetv2": senetv2,
}
