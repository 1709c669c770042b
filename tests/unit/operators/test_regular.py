"""The regular operator is the plain layer, bit for bit."""

from __future__ import annotations

import torch
from torch import nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.regular import Regular


def test_inherited_operator_is_the_plain_layer() -> None:
    conv, bn, act = nn.Conv2d(6, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4, eps=1e-3), nn.SiLU()
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.running_mean)
    operator = Regular(ConvSite("a", 6, 4, 3, 2, 1), Host(act, bn_eps=1e-3, bn_momentum=0.03))
    operator.inherit(conv, bn)
    x = torch.randn(2, 6, 9, 9)
    assert torch.equal(operator.eval()(x), act(bn.eval()(conv(x))))
    assert operator.bn is not None
    assert (operator.bn.eps, operator.bn.momentum) == (1e-3, 0.03)


def test_dilated_convolution() -> None:
    site = ConvSite("a", 4, 6, 3, 1, padding=2, dilation=2)
    operator = Regular(site, Host()).eval()
    x = torch.randn(1, 4, 8, 8)
    assert operator(x).shape == (1, 6, 8, 8)
    torch.testing.assert_close(operator.deploy()(x), operator(x))


def test_without_host_batchnorm_the_convolution_has_a_bias() -> None:
    operator = Regular(ConvSite("a", 4, 6, 3), Host(bn=False))
    assert [tuple(p.shape) for p in operator.parameters()] == [(6, 4, 3, 3), (6,)]
