"""Depthwise separable convolution: the kernel it stands for, its counts, and what it inherits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.dwsep import DepthwiseSeparable


@pytest.mark.parametrize(
    "site",
    [
        ConvSite("a", 6, 5, 3),
        ConvSite("a", 3, 8, 7, 2, 3),
        ConvSite("a", 4, 4, 3, 2, 2, 2),
        ConvSite("a", 4, 4, 2, 2, 0),
    ],
    ids=str,
)
def test_is_a_convolution_whose_kernel_is_one_image_a_channel_times_weights(site: ConvSite) -> None:
    operator = DepthwiseSeparable(site, Host(bn=False))
    plain = nn.Conv2d(
        site.in_channels,
        site.out_channels,
        site.kernel_size,
        site.stride,
        site.padding,
        site.dilation,
    )
    kernel = torch.einsum(
        "oc,cyx->ocyx",
        operator.pointwise.weight[:, :, 0, 0],
        operator.depthwise.weight[:, 0],
    )
    plain.load_state_dict({"weight": kernel, "bias": operator.pointwise.bias})
    x = torch.randn(2, site.in_channels, 9, 8)
    torch.testing.assert_close(operator(x), plain(x), rtol=1e-4, atol=1e-5)


def test_parameter_count() -> None:
    operator = DepthwiseSeparable(ConvSite("a", 128, 128, 3), Host())
    convolutions = 128 * 9 + 128 * 128
    assert sum(p.numel() for p in operator.parameters()) == convolutions + 2 * 128
    assert round(convolutions / (128 * 128 * 9), 3) == 0.119


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("has_bn", [True, False])
def test_a_separable_convolution_is_inherited_exactly(stride: int, has_bn: bool) -> None:
    conv = nn.Conv2d(5, 6, 3, stride, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(6, 5, 1, 1) * torch.randn(1, 5, 3, 3))
    bn = nn.BatchNorm2d(6).eval() if has_bn else None
    if bn is not None:
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.running_mean)
    operator = DepthwiseSeparable(ConvSite("a", 5, 6, 3, stride), Host(bn=has_bn)).eval()
    operator.inherit(conv, bn)
    x = torch.randn(2, 5, 7, 7)
    expected = conv(x) if bn is None else bn(conv(x))
    torch.testing.assert_close(operator(x), expected, rtol=1e-4, atol=1e-4)
