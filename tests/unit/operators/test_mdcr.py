"""MDCR against the paper's equations, group by group and channel by channel; its counts and its start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.mdcr import MDCR


def published(operator: MDCR, x: Tensor, act: nn.Module) -> Tensor:
    """Split in four, dilated depthwise layers; mix the j-th channels of the groups for each j; mix all."""
    groups = []
    for i, part in enumerate(x.chunk(4, 1)):
        d = (1, 6, 12, 18)[i]
        weight = operator.depthwise[i].weight
        y = nn.functional.conv2d(part, weight, padding=d, dilation=d, groups=len(weight))
        groups.append(act(operator.depthwise_bns[i](y)))
    mixed = []
    for j in range(groups[0].shape[1]):
        y = torch.stack([group[:, j] for group in groups], 1)
        mixed.append(act(operator.inter_bn(operator.inter(y))))
    # Group after group, as the outer convolution's weights are laid out.
    y = torch.cat([torch.stack([m[:, i] for m in mixed], 1) for i in range(4)], 1)
    return act(operator.outer_bn(operator.outer(y)))


def test_equals_the_published_module() -> None:
    act = nn.ReLU()
    operator = MDCR(ConvSite("a", 12, 12, 3), Host(act)).eval()
    for bn in operator.modules():
        if isinstance(bn, nn.BatchNorm2d):
            nn.init.normal_(bn.bias)
            nn.init.normal_(bn.weight)
    x = torch.randn(2, 12, 21, 23)  # wide enough for the outer taps of dilation 18
    torch.testing.assert_close(operator(x), published(operator, x, act))


def test_cost() -> None:
    """9 C + C^2 and one 4x4: 0.119 of a plain 3x3's weights with 128 channels."""
    operator = MDCR(ConvSite("a", 128, 128, 3), Host())
    weights = sum(m.weight.numel() for m in operator.modules() if isinstance(m, nn.Conv2d))
    assert weights == 9 * 128 + 128 * 128 + 16
    assert round(weights / (9 * 128 * 128), 3) == 0.119


@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU()])
def test_inherits_a_separable_convolution(act: nn.Module) -> None:
    """One kernel an input channel times a matrix, the kernels of the dilated groups a single tap: passed on whole."""
    c = 16
    kernels = torch.zeros(c, 3, 3)
    kernels[: c // 4] = torch.randn(c // 4, 3, 3)
    kernels[c // 4 :, 1, 1] = 1
    conv, bn = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(c, c, 1, 1) * kernels)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    bn.momentum = None  # a cumulative average
    x = torch.randn(32, c, 12, 12)
    bn(conv(x))
    bn.eval()
    operator = MDCR(ConvSite("a", c, c, 3), Host(act))
    operator.inherit(conv, bn)
    expected = act(bn(conv(x)))
    error = (operator.eval()(x) - expected).norm() / expected.norm()
    assert error < (0.03 if isinstance(act, nn.SiLU) else 0.001)


def test_refuses_channels_not_divisible_by_four() -> None:
    assert "divisible by 4, got 10" in str(MDCR.refusal(ConvSite("a", 10, 10, 3)))
    assert "got 8 and 16" in str(MDCR.refusal(ConvSite("a", 8, 16, 3)))
    assert "stride 1, got 2" in str(MDCR.refusal(ConvSite("a", 8, 8, 3, 2)))
    assert "3x3 kernel, got 5x5" in str(MDCR.refusal(ConvSite("a", 8, 8, 5, 1, 2)))
    assert MDCR.refusal(ConvSite("a", 8, 8, 3)) is None
