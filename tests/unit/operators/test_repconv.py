"""RepVGG's block against its branches written out, and what it deploys to and inherits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.repconv import RepConv


def make(c_in: int, c_out: int, k: int = 3, stride: int = 1, dilation: int = 1) -> RepConv:
    site = ConvSite("a", c_in, c_out, k, stride, dilation * (k // 2), dilation)
    operator = RepConv(site, Host(nn.ReLU()))
    for bn in operator.modules():
        if isinstance(bn, nn.BatchNorm2d):
            nn.init.normal_(bn.weight)
            nn.init.normal_(bn.bias)
    return operator


@pytest.mark.parametrize(("c_out", "stride"), [(6, 1), (6, 2), (5, 1)])
def test_equals_the_published_block(c_out: int, stride: int) -> None:
    operator = make(6, c_out, stride=stride)
    x = torch.randn(3, 6, 9, 8)

    def normalized(y: torch.Tensor, bn: nn.BatchNorm2d) -> torch.Tensor:
        spread = (y.var((0, 2, 3), correction=0, keepdim=True) + bn.eps).sqrt()
        y = (y - y.mean((0, 2, 3), keepdim=True)) / spread
        return y * bn.weight.view(-1, 1, 1) + bn.bias.view(-1, 1, 1)

    expected = normalized(
        nn.functional.conv2d(x, operator.kxk.weight, stride=stride, padding=1), operator.bn_kxk
    ) + normalized(
        nn.functional.conv2d(x[:, :, ::stride, ::stride], operator.pointwise.weight),
        operator.bn_pointwise,
    )
    assert (operator.bn_identity is not None) == (c_out == 6 and stride == 1)
    if operator.bn_identity is not None:
        expected = expected + normalized(x, operator.bn_identity)
    torch.testing.assert_close(operator(x), expected.relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("k", "stride", "dilation"), [(3, 1, 1), (3, 3, 1), (5, 1, 1), (3, 1, 2), (7, 2, 1)]
)
def test_deploys_to_exactly_one_convolution(k: int, stride: int, dilation: int) -> None:
    operator = make(6, 6, k, stride, dilation)
    operator(torch.randn(4, 6, 9, 8))  # moves the running statistics
    deployed = operator.eval().deploy()
    (conv,) = (m for m in deployed.modules() if isinstance(m, nn.Conv2d))
    plain = nn.Conv2d(6, 6, k, stride, dilation * (k // 2), dilation)
    assert {key: v.shape for key, v in conv.state_dict().items()} == {
        key: v.shape for key, v in plain.state_dict().items()
    }
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(plain(x).relu(), operator(x), rtol=1e-4, atol=1e-5)


def test_parameter_count() -> None:
    operator = make(128, 128)
    convolutions = 128 * 128 * 10
    assert sum(p.numel() for p in operator.parameters()) == convolutions + 3 * 2 * 128
    assert round(convolutions / (128 * 128 * 9), 2) == 1.11


def test_inherits_the_plain_layer_itself_in_both_modes() -> None:
    conv, bn = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.running_mean)
    operator = make(6, 6)
    operator.inherit(conv, bn)
    x = torch.randn(4, 6, 7, 7)
    assert torch.equal(operator.eval()(x), bn.eval()(conv(x)).relu())
    assert torch.equal(operator.train()(x), bn.train()(conv(x)).relu())


def test_the_branches_that_begin_at_zero_learn() -> None:
    operator = make(6, 6)
    operator.inherit(nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
    optimizer = torch.optim.SGD(operator.parameters(), lr=1e-3)
    x, before = torch.randn(4, 6, 7, 7), operator.pointwise.weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        (operator(x) * torch.randn(4, 6, 7, 7)).sum().backward()
        optimizer.step()
    assert operator.bn_identity is not None
    assert operator.bn_identity.weight.abs().min() > 0
    assert (operator.pointwise.weight - before).abs().min() > 0


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (ConvSite("a", 8, 8, 3, 1, 0), "3x3 with padding 0"),
        (ConvSite("a", 8, 8, 4, 1, 2), "4x4 with padding 2"),
    ],
)
def test_refuses(site: ConvSite, reason: str) -> None:
    assert reason in str(RepConv.refusal(site))
