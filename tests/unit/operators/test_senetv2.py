"""SENetV2 against four dense layers side by side, after a plain convolution; its counts and its start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.senetv2 import SENetV2


class PublishedAttention(nn.Module):
    """Squeeze, four dense layers with ReLU that read the same vector, concatenation, a dense layer, sigmoid, scale."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.branches = nn.ModuleList(nn.Linear(channels, hidden) for _ in range(4))
        self.last = nn.Linear(4 * hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        s = nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        y = torch.cat([torch.relu(branch(s)) for branch in self.branches], 1)
        return x * torch.sigmoid(self.last(y))[:, :, None, None]


@pytest.mark.parametrize("applies_act", [False, True])
def test_equals_four_branches(applies_act: bool) -> None:
    act = nn.ReLU()
    operator = SENetV2(
        ConvSite("a", 12, 12, 3, 1, 1), Host(act, applies_act=applies_act), reduction=4
    )
    published = PublishedAttention(12, 4)
    squeeze, excite = operator.attention.squeeze, operator.attention.excite
    with torch.no_grad():
        for i, branch in enumerate(published.branches):
            branch.weight.copy_(squeeze.weight[3 * i : 3 * i + 3, :, 0, 0])
            branch.bias.copy_(squeeze.bias[3 * i : 3 * i + 3])
        published.last.weight.copy_(excite.weight[:, :, 0, 0])
        published.last.bias.copy_(excite.bias)
    x = torch.randn(3, 12, 9, 7)
    got = operator(x)
    expected = published(act(operator.bn(operator.kxk(x))))
    torch.testing.assert_close(act(got) if applies_act else got, expected)


@pytest.mark.parametrize("bn", [True, False])
def test_starts_as_the_plain_convolution(bn: bool) -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1, bias=not bn)
    norm = nn.BatchNorm2d(8) if bn else None
    operator = SENetV2(ConvSite("a", 8, 8, 3), Host(nn.SiLU(), bn=bn), reduction=8)
    operator.inherit(conv, norm)
    x = torch.randn(2, 8, 9, 9)
    y = conv(x) if norm is None else norm(conv(x))
    torch.testing.assert_close(operator(x), nn.functional.silu(y))


def test_cost_of_the_attention() -> None:
    """0.029 of a plain 3x3 with 128 channels at reduction 32, biases counted."""
    attention = SENetV2(ConvSite("a", 128, 128, 3), Host(), reduction=32).attention
    parameters = sum(p.numel() for p in attention.parameters())
    assert parameters == 4 * (128 * 4 + 4) + 16 * 128 + 128
    assert round(parameters / (9 * 128 * 128), 3) == 0.029


def test_refuses_what_changes_shape_and_too_few_channels() -> None:
    assert "got 8 and 16" in str(SENetV2.refusal(ConvSite("a", 8, 16, 3), reduction=4))
    assert "stride 1" in str(SENetV2.refusal(ConvSite("a", 8, 8, 3, 2), reduction=4))
    assert "at least 32 channels, got 16" in str(
        SENetV2.refusal(ConvSite("a", 16, 16, 3), reduction=32)
    )
