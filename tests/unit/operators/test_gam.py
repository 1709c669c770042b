"""GAM against the attention of the paper's figures, after a plain convolution; its counts and its start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.gam import GAM


class PublishedAttention(nn.Module):
    """Figures 1 to 3: channels last, a perceptron, sigmoid, times the input; two 7x7, sigmoid, times that."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.perceptron = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 7, padding=3, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, f1: Tensor) -> Tensor:
        m_c = self.perceptron(f1.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).sigmoid()
        f2 = m_c * f1
        return self.spatial(f2).sigmoid() * f2


def pair(act: nn.Module | None, applies_act: bool) -> tuple[GAM, nn.Sequential]:
    """The operator and the published attention after a plain convolution, with the same weights."""
    operator = GAM(ConvSite("a", 8, 8, 5, 1, 2), Host(act, applies_act=applies_act), reduction=4)
    attention = PublishedAttention(8, 4)
    mine, theirs = operator.attention.state_dict(), attention.state_dict()
    del mine["gain"]
    attention.load_state_dict(
        {
            name: value.view_as(theirs[name])
            for name, value in zip(theirs, mine.values(), strict=True)
        }
    )
    plain = [operator.kxk, operator.bn, nn.Identity() if act is None else act]
    return operator, nn.Sequential(*plain, attention)


@pytest.mark.parametrize("applies_act", [False, True])
@pytest.mark.parametrize("act", [nn.ReLU(), nn.LeakyReLU(0.1), None])
def test_equals_the_published_attention_whoever_activates(
    act: nn.Module | None, applies_act: bool
) -> None:
    operator, published = pair(act, applies_act)
    x = torch.randn(3, 8, 9, 9)
    got = operator(x)  # training mode: batch statistics
    torch.testing.assert_close(act(got) if act is not None and applies_act else got, published(x))


def test_smooth_activation_inside_is_as_published_and_outside_is_as_documented() -> None:
    act = nn.SiLU()
    operator, published = pair(act, applies_act=False)
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(operator(x), published(x))
    outside, _ = pair(act, applies_act=True)
    outside.load_state_dict(operator.state_dict())
    z = outside.bn(outside.kxk(x))
    torch.testing.assert_close(outside(x) / z, operator(x) / act(z), rtol=1e-4, atol=1e-5)


def test_starts_as_the_plain_convolution_and_learns_to_differ() -> None:
    conv, bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
    operator = GAM(ConvSite("a", 8, 8, 3), Host(nn.SiLU()), reduction=2)
    operator.inherit(conv, bn)
    x, target = torch.randn(4, 8, 9, 9), torch.randn(4, 8, 9, 9)
    torch.testing.assert_close(operator(x), nn.functional.silu(bn(conv(x))))

    weights = [*operator.attention.parameters()]
    optimizer = torch.optim.SGD(weights, 1e-3)
    before = [weight.clone() for weight in weights]
    for _ in range(2):  # the layers before those that start at zero move in the second step
        optimizer.zero_grad()
        (operator(x) - target).square().sum().backward()
        optimizer.step()
    assert not any(torch.equal(*both) for both in zip(before, weights, strict=True))


def test_cost_of_the_attention() -> None:
    """Twice C^2 / 4 at one tap and at 49: 2.78 times the parameters of a plain 3x3."""
    attention = GAM(ConvSite("a", 128, 128, 3), Host(), reduction=4).attention
    weights = sum(m.weight.numel() for m in attention.modules() if isinstance(m, nn.Conv2d))
    assert weights == 2 * 128 * 32 * 50
    assert round(weights / (9 * 128 * 128), 2) == 2.78


@pytest.mark.parametrize(
    ("site", "reduction", "reason"),
    [
        (ConvSite("a", 8, 16, 3), 4, "as many input as output channels, got 8 and 16"),
        (ConvSite("a", 8, 8, 3, 2), 4, "stride 1, got 2"),
        (ConvSite("a", 8, 8, 3), 16, "at least 16 channels, got 8"),
        (ConvSite("a", 8, 8, 3), 2.5, "1, 2, 3, ..., got 2.5"),
        (ConvSite("a", 8, 8, 3), 0, "1, 2, 3, ..., got 0"),
    ],
)
def test_refuses(site: ConvSite, reduction: float, reason: str) -> None:
    assert reason in str(GAM.refusal(site, reduction=reduction))
