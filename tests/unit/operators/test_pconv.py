"""Partial convolution against FasterNet's definition written with functions, its counts, refusals and inheritance."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.pconv import PartialPointwise


def make(
    c_in: int, c_out: int, ratio: float = 0.25, k: int = 3, bn: bool = False
) -> PartialPointwise:
    return PartialPointwise(ConvSite("a", c_in, c_out, k, 1, k // 2), Host(bn=bn), ratio=ratio)


@pytest.mark.parametrize(
    ("c_in", "c_out", "ratio", "k", "first"), [(8, 6, 0.25, 3, 2), (7, 9, 0.5, 5, 3)]
)
def test_equals_the_published_layers(
    c_in: int, c_out: int, ratio: float, k: int, first: int
) -> None:
    operator = make(c_in, c_out, ratio, k)
    x = torch.randn(2, c_in, 9, 7)
    before = x.clone()
    y = x.clone()
    y[:, :first] = functional.conv2d(x[:, :first], operator.partial.conv.weight, padding=k // 2)
    expected = functional.conv2d(y, operator.pointwise.weight, operator.pointwise.bias)
    torch.testing.assert_close(operator(x), expected)
    assert torch.equal(x, before)


def test_parameter_count_is_a_sixteenth_at_a_quarter() -> None:
    operator = make(128, 128, bn=True)
    assert operator.partial.conv.weight.numel() * 16 == 128 * 128 * 9
    convolutions = 32 * 32 * 9 + 128 * 128
    assert sum(p.numel() for p in operator.parameters()) == convolutions + 2 * 128
    assert round(convolutions / (128 * 128 * 9), 3) == 0.174


@pytest.mark.parametrize(
    ("site", "ratio", "reason"),
    [
        (ConvSite("a", 8, 8, 3, 2), 0.25, "expected stride 1, got 2"),
        (ConvSite("a", 8, 8, 3, 1, 0), 0.25, "3x3 with padding 0"),
        (ConvSite("a", 8, 8, 4, 1, 2), 0.25, "4x4 with padding 2"),
        (ConvSite("a", 3, 8, 3), 0.25, "of 3 input channels leaves a part empty"),
        (ConvSite("a", 8, 8, 3), 1.0, "between 0 and 1, got 1"),
        (ConvSite("a", 8, 8, 3), 0.0, "between 0 and 1, got 0"),
    ],
)
def test_refuses(site: ConvSite, ratio: float, reason: str) -> None:
    assert reason in str(PartialPointwise.refusal(site, ratio=ratio))


def test_dilation_is_taken() -> None:
    site = ConvSite("a", 8, 8, 3, 1, 2, 2)
    assert PartialPointwise.refusal(site, ratio=0.25) is None
    assert PartialPointwise(site, Host(), ratio=0.25)(torch.randn(2, 8, 5, 6)).shape == (2, 8, 5, 6)


@pytest.mark.parametrize("c_out", [2, 6])
def test_what_fits_its_rank_is_inherited_exactly(c_out: int) -> None:
    """Kernels on the first channels of a rank of at most Cp, and centre taps on the others."""
    conv = nn.Conv2d(12, c_out, 3, padding=1)
    with torch.no_grad():
        mixed = torch.randn(c_out, 3) @ torch.randn(3, 3 * 9)
        conv.weight[:, :3] = mixed.view(c_out, 3, 3, 3)
        centre = conv.weight[:, 3:, 1, 1].clone()
        conv.weight[:, 3:] = 0
        conv.weight[:, 3:, 1, 1] = centre
    operator = make(12, c_out)
    operator.inherit(conv, None)
    x = torch.randn(2, 12, 7, 7)
    torch.testing.assert_close(operator(x), conv(x), rtol=1e-4, atol=1e-4)


def test_filters_beyond_the_rank_can_still_learn() -> None:
    """With fewer outputs than convolved channels, the spare filters are unread but random, not dead."""
    conv = nn.Conv2d(12, 2, 3, padding=1)
    operator = make(12, 2)
    operator.inherit(conv, None)
    operator(torch.randn(2, 12, 7, 7)).square().sum().backward()
    assert operator.pointwise.weight.grad is not None
    assert operator.pointwise.weight[:, 2].abs().max() == 0
    assert operator.pointwise.weight.grad[:, 2].abs().min() > 0
