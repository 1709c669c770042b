"""Haar wavelet downsampling: the transform's definition, its odd sizes, what it deploys to and inherits."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.hwd import Haar, HaarDownsampling, haar_basis


def make(c_in: int, c_out: int, k: int = 3, bn: bool = False) -> HaarDownsampling:
    return HaarDownsampling(ConvSite("a", c_in, c_out, k, 2, k // 2), Host(bn=bn))


def one_axis(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Haar's low and high band along an axis: (a + b) / sqrt(2) and (a - b) / sqrt(2) of neighbours."""
    first, second = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return (first + second) / 2**0.5, (first - second) / 2**0.5


def test_is_the_haar_transform_of_rows_and_columns() -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    low, high = one_axis(x, 2)  # between rows
    (mean, vertical), (horizontal, diagonal) = one_axis(low, 3), one_axis(high, 3)
    got = Haar()(x)
    torch.testing.assert_close(got, torch.cat([mean, horizontal, vertical, diagonal], 1))
    torch.testing.assert_close(got.square().sum(), x.square().sum())  # orthonormal


def test_the_basis_is_the_transform_of_single_pixels() -> None:
    pixels = torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    torch.testing.assert_close(Haar()(pixels).view(4, 4).T.reshape(4, 2, 2), haar_basis())
    flat = haar_basis().flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(("height", "width"), [(5, 4), (4, 5), (5, 7), (1, 1), (1, 2)])
def test_odd_sizes_are_filled_with_zeros(height: int, width: int) -> None:
    operator = make(3, 4)
    x = torch.randn(2, 3, height, width)
    full = torch.zeros(2, 3, height + height % 2, width + width % 2)
    full[:, :, :height, :width] = x
    torch.testing.assert_close(operator(x), operator(full))
    torch.testing.assert_close(operator.deploy()(x), operator(full))


@pytest.mark.parametrize("traced", [(6, 6), (5, 5)])
def test_a_traced_form_is_right_at_every_size(traced: tuple[int, int]) -> None:
    deployed = make(3, 4, bn=True).eval().deploy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch.jit.trace itself
        graph = torch.jit.trace(deployed, torch.randn(1, 3, *traced))
    for height, width in ((4, 6), (5, 6), (6, 5), (7, 7), (1, 1)):
        x = torch.randn(1, 3, height, width)
        torch.testing.assert_close(graph(x), deployed(x))


def test_deploys_to_one_2x2_convolution_without_padding_even_sizes() -> None:
    deployed = make(6, 8, bn=True).eval().deploy()
    (conv,) = (m for m in deployed.modules() if isinstance(m, nn.Conv2d))
    assert conv.weight.shape == (8, 6, 2, 2)
    x = torch.randn(2, 6, 8, 4)
    torch.testing.assert_close(
        deployed(x), nn.functional.conv2d(x, conv.weight, conv.bias, stride=2)
    )


def test_parameter_count() -> None:
    operator = make(128, 128, bn=True)
    convolutions = 4 * 128 * 128
    assert sum(p.numel() for p in operator.parameters()) == convolutions + 2 * 128
    assert round(convolutions / (128 * 128 * 9), 3) == 0.444


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        (ConvSite("a", 8, 8, 3), "expected stride 2, got 1"),
        (ConvSite("a", 8, 8, 3, 4), "expected stride 2, got 4"),
        (ConvSite("a", 8, 8, 3, 2, 0), "3x3 with padding 0"),
        (ConvSite("a", 8, 8, 2, 2, 0), "2x2 with padding 0"),
    ],
)
def test_refuses(site: ConvSite, reason: str) -> None:
    assert reason in str(HaarDownsampling.refusal(site))


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("has_bn", [True, False])
def test_a_kernel_within_the_square_is_inherited_exactly(k: int, has_bn: bool) -> None:
    conv = nn.Conv2d(5, 6, k, 2, k // 2)
    mask = torch.zeros(k, k)
    mask[k // 2 : k // 2 + 2, k // 2 : k // 2 + 2] = 1
    with torch.no_grad():
        conv.weight.mul_(mask)
    bn = nn.BatchNorm2d(6).eval() if has_bn else None
    if bn is not None:
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.running_mean)
    operator = make(5, 6, k, has_bn).eval()
    operator.inherit(conv, bn)
    for height, width in ((8, 6), (7, 9)):
        x = torch.randn(2, 5, height, width)
        expected = conv(x) if bn is None else bn(conv(x))
        torch.testing.assert_close(operator(x), expected, rtol=1e-4, atol=1e-4)
