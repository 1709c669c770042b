"""Linear deformable convolution against the paper's sampling written pixel by pixel, and what it inherits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.ldconv import LDConv, Sampler, most_telling_taps, sampling_pattern
from spnas.operators.smoothness import patch_correlation


def make(
    c_in: int, c_out: int, points: int = 5, k: int = 3, stride: int = 1, bn: bool = False
) -> LDConv:
    return LDConv(ConvSite("a", c_in, c_out, k, stride, k // 2), Host(bn=bn), points=points)


def bilinear(image: Tensor, row: float, column: float) -> Tensor:
    """Sample `(C, H, W)`, coordinates and neighbours kept within the image as in the authors' code."""
    height, width = image.shape[1:]
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    total = torch.zeros_like(image[:, 0, 0])
    for y in (math.floor(row), math.floor(row) + 1):
        for x in (math.floor(column), math.floor(column) + 1):
            share = (1 - abs(row - y)) * (1 - abs(column - x))
            total = total + share * image[:, min(y, height - 1), min(x, width - 1)]
    return total


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (1, [(0, 0)]),
        (3, [(0, 0), (0, 1), (1, 0)]),
        (5, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]),
        (6, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]),
        (7, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]),
    ],
)
def test_pattern_is_the_papers(points: int, expected: list[tuple[int, int]]) -> None:
    assert [tuple(map(int, place)) for place in sampling_pattern(points)] == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(5, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("deployed", [False, True])
@torch.no_grad()
def test_equals_sampling_pixel_by_pixel(
    stride: int, height: int, width: int, deployed: bool
) -> None:
    """Offsets of several pixels, so that points fall between pixels and beyond every border."""
    operator = make(3, 4, points=5, stride=stride).double()
    nn.init.normal_(operator.offset.weight, std=0.3)
    assert operator.offset.bias is not None
    nn.init.normal_(operator.offset.bias)
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    got = (operator.eval().deploy() if deployed else operator)(x)
    offsets = operator.offset(x)
    pattern = sampling_pattern(5)
    for image, out, shift in zip(x, got, offsets, strict=True):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                samples = [
                    bilinear(
                        image,
                        i * stride + float(pattern[n, 0] + shift[n, i, j]),
                        j * stride + float(pattern[n, 1] + shift[5 + n, i, j]),
                    )
                    for n in range(5)
                ]
                weight = operator.linear.weight[..., 0]
                expected = torch.einsum("oin,in->o", weight, torch.stack(samples, 1))
                expected = expected + operator.linear.bias
                torch.testing.assert_close(out[:, i, j], expected, rtol=1e-5, atol=1e-5)


def test_begins_with_the_pattern_alone() -> None:
    operator = make(3, 4)
    assert not operator.offset(torch.randn(2, 3, 6, 6)).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_tells_the_pixels_of_a_wide_image_apart(dtype: torch.dtype) -> None:
    x = torch.randint(0, 100, (1, 2, 3, 1280)).to(dtype)
    sampler = Sampler(1, 1).to(dtype)
    got = sampler(x, torch.zeros(1, 2, 3, 1280, dtype=dtype))
    assert got.dtype == dtype
    torch.testing.assert_close(got, x, rtol=0, atol=0.1)  # a thousandth of a pixel


@pytest.mark.parametrize(("points", "share"), [(3, 0.380), (5, 0.634)])
def test_parameter_count(points: int, share: float) -> None:
    operator = make(128, 128, points, bn=True)
    convolutions = 128 * 2 * points * 9 + 128 * 128 * points
    assert sum(p.numel() for p in operator.parameters()) == convolutions + 2 * points + 2 * 128
    assert round(convolutions / (128 * 128 * 9), 3) == share


@pytest.mark.parametrize(
    ("site", "points", "reason"),
    [
        (ConvSite("a", 8, 8, 3), 0, "a whole number of points, at least 1, got 0"),
        (ConvSite("a", 8, 8, 3), -3, "got -3"),
        (ConvSite("a", 8, 8, 3), 2.5, "got 2.5"),
        (ConvSite("a", 8, 8, 3, 1, 0), 5, "3x3 with padding 0"),
    ],
)
def test_refuses(site: ConvSite, points: float, reason: str) -> None:
    assert reason in str(LDConv.refusal(site, points=points))


@pytest.mark.parametrize("count", [1, 4, 9, 12])
@torch.no_grad()
def test_each_tap_adds_the_most_to_what_those_before_explain(count: int) -> None:
    conv = nn.Conv2d(4, 5, 3)
    chosen = most_telling_taps(conv, count).tolist()
    correlation, kernels = patch_correlation(conv), conv.weight.double().flatten(2).flatten(0, 1)

    def explained(taps: list[int]) -> float:
        cross = kernels @ correlation[:, taps]
        return float((cross @ torch.linalg.inv(correlation[taps][:, taps]) * cross).sum())

    assert len(set(chosen)) == len(chosen) == min(count, 9)
    for number, tap in enumerate(chosen):
        before = chosen[:number]
        best = max(explained([*before, other]) for other in range(9) if other not in before)
        assert explained([*before, tap]) == pytest.approx(best)


@pytest.mark.parametrize(("k", "stride", "dilation", "points"), [(3, 1, 1, 9), (3, 2, 2, 11)])
def test_with_a_point_a_tap_the_inside_is_inherited_exactly(
    k: int, stride: int, dilation: int, points: int
) -> None:
    """Inside, because the plain convolution sees zeros beyond the border and this one the border's pixels."""
    site = ConvSite("a", 4, 6, k, stride, dilation * (k // 2), dilation)
    conv, bn = nn.Conv2d(4, 6, k, stride, site.padding, dilation), nn.BatchNorm2d(6).eval()
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.running_mean)
    operator = LDConv(site, Host(), points=points).eval()
    operator.inherit(conv, bn)
    x = torch.randn(2, 4, 12, 11)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(operator(x)[inner], bn(conv(x))[inner], rtol=1e-4, atol=1e-4)
