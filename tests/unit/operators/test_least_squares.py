"""Ridge regression against torch's least squares, and operators fitted to what they can be exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import Choice, ConvSite
from spnas.operators import Host, build_operator
from spnas.operators.least_squares import PixelSample, regress

HOSTS = (Host(nn.SiLU(), bn_eps=1e-3), Host(nn.SiLU(), bn=False))


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_is_least_squares_with_the_ridge_as_more_samples(ridge: float) -> None:
    x, y = torch.randn(2, 50, 7) + 3, torch.randn(2, 50, 4) - 1
    found = regress(x, y, ridge)
    for i in range(2):
        centred = (x[i] - x[i].mean(0)).double()
        spread = centred.square().sum(0).mean()
        rows = torch.cat([centred, (ridge * spread).sqrt() * torch.eye(7)])
        targets = torch.cat([(y[i] - y[i].mean(0)).double(), torch.zeros(7, 4)])
        expected = torch.linalg.lstsq(rows, targets).solution
        torch.testing.assert_close(found[i].double(), expected, rtol=1e-4, atol=1e-5)


def test_features_that_never_vary_get_no_weight() -> None:
    assert not regress(torch.ones(20, 3), torch.randn(20, 2)).any()


@pytest.mark.parametrize(("k", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 2, 2)])
def test_patches_are_what_the_kernel_reads(k: int, stride: int, dilation: int) -> None:
    conv = nn.Conv2d(3, 4, k, stride, dilation * (k // 2), dilation, bias=False)
    x = torch.randn(2, 3, 9, 8)
    out = conv(x)
    pixels = PixelSample.of(out, 11)
    made = pixels.patches(x, conv).flatten(1) @ conv.weight.flatten(1).T
    assert len(made) == 11
    torch.testing.assert_close(made, pixels.values(out))


@pytest.mark.parametrize("host", HOSTS, ids=["bn", "bare"])
@pytest.mark.parametrize(
    ("text", "stride"),
    [("dualconv:0.5", 1), ("hetconv:0.5", 2), ("spconv:0.5", 1), ("pconv:0.5", 1), ("hwd", 2)],
)
def test_a_convolution_that_the_operator_can_be_is_found(
    text: str, stride: int, host: Host
) -> None:
    """Kernels of the operator's own shape, on inputs with as much detail as noise has."""
    conv, bn = nn.Conv2d(8, 6, 3, stride, 1, bias=False), nn.BatchNorm2d(6, eps=1e-3)
    _keep_only(conv, text)
    nn.init.uniform_(bn.weight, 0.5, 2)
    nn.init.normal_(bn.bias)
    x = torch.randn(16, 8, 12, 12)
    plain: nn.Module = nn.Sequential(conv, bn) if host.bn else conv
    plain(x)  # running statistics
    operator = build_operator(Choice.parse(text), ConvSite("a", 8, 6, 3, stride), host)
    operator.fit(conv, bn if host.bn else None, x)
    with torch.no_grad():
        expected = nn.functional.silu(plain.eval()(x))
        error = _relative(operator.eval()(x), expected)
        assert error < (0.05 if text.startswith("spconv") else 1e-4)  # gates are never quite equal


@torch.no_grad()
def _keep_only(conv: nn.Conv2d, text: str) -> None:
    """Put zeros where the operator has no taps."""
    kernel = conv.weight.clone()
    conv.weight.zero_()
    if text == "hwd":
        conv.weight[:, :, 1:, 1:] = kernel[:, :, 1:, 1:]
        return
    conv.weight[:, :, 1, 1] = kernel[:, :, 1, 1]
    if text.startswith("pconv"):  # its k x k kernels are not fitted
        return
    read = 2 if text.startswith("spconv") else 4  # of two groups, of all 8 channels or of half
    conv.weight[:3, :read] = kernel[:3, :read]
    conv.weight[3:, read : 2 * read] = kernel[3:, read : 2 * read]


def _relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).square().mean() / expected.var())
