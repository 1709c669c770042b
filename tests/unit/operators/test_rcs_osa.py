"""RCS-OSA against the paper's figures built from plain layers; its deployed size and its start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.rcs_osa import RCSOSA, RepVGG, hidden_channels


def rep(block: RepVGG, x: Tensor, act: nn.Module) -> Tensor:
    """RepVGG in training: 3x3, 1x1 and, where it fits, identity, each with its BatchNorm."""
    y = block.bn3(nn.functional.conv2d(x, block.k3.weight, padding=1))
    y = y + block.bn1(nn.functional.conv2d(x, block.k1.weight))
    return act(y if block.bn_identity is None else y + block.bn_identity(x))


def rcs(block: RepVGG, x: Tensor, act: nn.Module) -> Tensor:
    """Channel split, RepVGG on one half, concatenation, channel shuffle of two groups."""
    left, right = x.chunk(2, 1)
    right = rep(block, right, act)
    return torch.stack([left, right], 2).flatten(1, 2)  # left 0, right 0, left 1, right 1, ...


def test_equals_the_published_block() -> None:
    act = nn.SiLU()
    operator = RCSOSA(ConvSite("a", 40, 40, 3), Host(act))
    assert [b.bn_identity is None for b in (operator.first, operator.second)] == [True, False]
    x = torch.randn(2, 40, 9, 7)
    x1 = rep(operator.first, x, act)
    x2 = rcs(operator.second, x1, act)
    x3 = rcs(operator.third, x2, act)
    assert x1.shape[1] == x2.shape[1] == x3.shape[1] == 24
    expected = rep(operator.last, torch.cat([x1, x2, x3], 1), act)
    torch.testing.assert_close(operator(x), expected)


@pytest.mark.parametrize(("channels", "hidden"), [(1, 8), (8, 8), (17, 8), (18, 16), (128, 64)])
def test_hidden_channels_are_half_rounded_up_to_eights(channels: int, hidden: int) -> None:
    assert hidden_channels(channels) == hidden


def test_deployed_form_reads_each_channel_once() -> None:
    """C h + 2 (h/2)^2 + 2 h C, a 3x3 each; as published the last part is 3 h C. 1.625 and 2.125 plain 3x3."""
    operator = RCSOSA(ConvSite("a", 128, 128, 3), Host(nn.ReLU()))
    convs = [m for m in operator.deploy().modules() if isinstance(m, nn.Conv2d)]
    weights = sum(conv.weight.numel() for conv in convs)
    assert [conv.in_channels for conv in convs] == [conv.weight.shape[1] for conv in convs]
    assert weights == 9 * (128 * 64 + 2 * 32 * 32 + 2 * 64 * 128)
    assert weights / (9 * 128 * 128) == 1.625
    published = [b.k3.weight.numel() for b in operator.children() if isinstance(b, RepVGG)]
    assert sum(published) / (9 * 128 * 128) == 2.125


@pytest.mark.parametrize("act", [nn.ReLU(), nn.SiLU(), None])
def test_inherits_a_convolution_of_low_rank(act: nn.Module | None) -> None:
    """32 outputs that are mixtures of 16 filters pass the 16 hidden channels whole, but for the activation's bend."""
    conv, bn = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
    with torch.no_grad():
        conv.weight.copy_(torch.einsum("om,mcij->ocij", torch.randn(32, 16), conv.weight[:16]))
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    bn.momentum = None  # a cumulative average
    x = nn.functional.avg_pool2d(torch.randn(32, 32, 9, 9), 3, 1, padding=1)
    bn(conv(x))
    bn.eval()
    operator = RCSOSA(ConvSite("a", 32, 32, 3), Host(act))
    operator.inherit(conv, bn)
    expected = bn(conv(x)) if act is None else act(bn(conv(x)))
    error = (operator.eval()(x) - expected).norm() / expected.norm()
    assert error < 0.03


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (ConvSite("a", 8, 16, 3), "got 8 and 16"),
        (ConvSite("a", 8, 8, 3, 2), "stride 1, got 2"),
        (ConvSite("a", 8, 8, 5, 1, 2), "3x3 kernel, got 5x5"),
        (ConvSite("a", 8, 8, 3, 1, 2, 2), "dilation 1 and padding 1, got 2 and 2"),
        (ConvSite("a", 8, 8, 3, 1, 0), "dilation 1 and padding 1, got 1 and 0"),
    ],
)
def test_refuses(site: ConvSite, reason: str) -> None:
    assert reason in str(RCSOSA.refusal(site))
