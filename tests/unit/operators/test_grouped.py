"""HetConv and DualConv against kernels written filter by filter as in the papers, counts, refusals, inheritance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.dualconv import DualConv
from spnas.operators.grouped import GroupedPlusPointwise
from spnas.operators.hetconv import HetConv

BOTH = pytest.mark.parametrize("cls", [HetConv, DualConv])


def make(
    cls: type[GroupedPlusPointwise],
    c_in: int,
    c_out: int,
    parts: int,
    k: int = 3,
    stride: int = 1,
    bn: bool = False,
) -> GroupedPlusPointwise:
    return cls(ConvSite("a", c_in, c_out, k, stride, k // 2), Host(bn=bn), ratio=1 / parts)


def published_kernel(operator: GroupedPlusPointwise) -> Tensor:
    """One filter after the other: k x k kernels on its part of the channels, 1x1 kernels on the others.

    In DualConv the 1x1 kernels are on the filter's part of the channels, too.
    """
    site, parts = operator.site, operator.groups
    k, part = site.kernel_size, site.in_channels // parts
    kernel = torch.zeros(site.out_channels, site.in_channels, k, k)
    for f in range(site.out_channels):
        group = f * parts // site.out_channels
        own = range(group * part, (group + 1) * part)
        singles = iter(operator.sum.pointwise.weight[f, :, 0, 0].tolist())
        for channel in range(site.in_channels):
            if channel in own:
                kernel[f, channel] += operator.sum.grouped.weight[f, channel - own.start]
            if channel not in own or isinstance(operator, DualConv):
                kernel[f, channel, k // 2, k // 2] += next(singles)
        assert next(singles, None) is None
    return kernel


@BOTH
@pytest.mark.parametrize(
    ("c_in", "c_out", "parts", "k", "stride"), [(8, 12, 4, 3, 1), (9, 6, 3, 5, 2), (4, 2, 2, 3, 3)]
)
@torch.no_grad()
def test_equals_the_published_filters(
    cls: type[GroupedPlusPointwise], c_in: int, c_out: int, parts: int, k: int, stride: int
) -> None:
    operator = make(cls, c_in, c_out, parts, k, stride)
    x = torch.randn(2, c_in, 9, 8)
    expected = nn.functional.conv2d(
        x, published_kernel(operator), operator.sum.grouped.bias, stride, k // 2
    )
    torch.testing.assert_close(operator(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parameter_counts_are_the_papers(parts: int) -> None:
    """Of a plain convolution's, HetConv has `1/P + (1 - 1/P) / K^2` and DualConv `1/G + 1/K^2`."""
    for cls, share in (
        (HetConv, 1 / parts + (1 - 1 / parts) / 9),
        (DualConv, 1 / parts + 1 / 9),
    ):
        operator = make(cls, 64, 32, parts, bn=True)
        norm = 2 * 32
        assert sum(p.numel() for p in operator.parameters()) - norm == round(64 * 32 * 9 * share)


@BOTH
@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_what_has_its_form_is_inherited_exactly(
    cls: type[GroupedPlusPointwise], stride: int
) -> None:
    conv = nn.Conv2d(8, 12, 3, stride, 1)
    conv.weight.copy_(published_kernel(make(cls, 8, 12, 4)))
    operator = make(cls, 8, 12, 4, stride=stride)
    operator.inherit(conv, None)
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(operator(x), conv(x), rtol=1e-4, atol=1e-4)


@BOTH
@pytest.mark.parametrize(
    ("site", "ratio", "reason"),
    [
        (ConvSite("a", 8, 8, 3), 1.0, "1/2, 1/3, 1/4"),
        (ConvSite("a", 8, 8, 3), 0.4, "1/2, 1/3, 1/4"),
        (ConvSite("a", 8, 8, 3), 0.0, "1/2, 1/3, 1/4"),
        (ConvSite("a", 3, 8, 3), 0.25, "that 4 divides, got 3 -> 8"),
        (ConvSite("a", 8, 6, 3), 0.25, "that 4 divides, got 8 -> 6"),
        (ConvSite("a", 8, 8, 3, 1, 0), 0.25, "3x3 with padding 0"),
        (ConvSite("a", 8, 8, 2, 2, 1), 0.25, "2x2 with padding 1"),
    ],
)
def test_refuses(
    cls: type[GroupedPlusPointwise], site: ConvSite, ratio: float, reason: str
) -> None:
    assert reason in str(cls.refusal(site, ratio=ratio))


def test_a_written_third_is_a_third() -> None:
    site = ConvSite("a", 9, 6, 3, 2, 2, 2)
    assert HetConv.refusal(site, ratio=0.333) is None
    assert HetConv(site, Host(), ratio=0.333).groups == 3
