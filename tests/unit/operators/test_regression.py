"""Regression on means of pixels, against least squares on sampled images that correlate as assumed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.operators.regression import regress_on_means
from spnas.operators.smoothness import NEIGHBOUR_CORRELATION


def smooth_images(count: int, size: int) -> Tensor:
    """Images `(count, 1, size, size)`: along rows and along columns, pixels follow a first-order autoregression."""
    rho = NEIGHBOUR_CORRELATION
    images = torch.randn(count, size, size, dtype=torch.float64)
    for lines in (images, images.mT):
        for i in range(1, size):
            lines[:, i] = rho * lines[:, i - 1] + (1 - rho**2) ** 0.5 * lines[:, i]
    return images[:, None]


@pytest.mark.parametrize(
    ("k", "dilation", "starts", "width", "centres"),
    [
        (3, 1, (0, 1), 1, (0,)),  # hwd
        (3, 1, (-2, 0, 2), 2, (0, 1)),  # octconv, lh at stride 1
        (3, 1, (-2, 0, 2), 2, (0,)),  # octconv, hh at stride 2
        (3, 1, (-4, 0, 4), 4, (0, 2)),  # octconv, ll at stride 2
        (3, 2, (-1, 2), 1, (0,)),
        (5, 1, (0,), 3, (0, 1, 2)),
    ],
)
def test_is_least_squares_on_smooth_images(
    k: int, dilation: int, starts: tuple[int, ...], width: int, centres: tuple[int, ...]
) -> None:
    kernel = torch.randn(3, 1, k, k)
    size, origin = 14, 5
    images = smooth_images(60_000, size)

    reach = dilation * (k // 2)
    outputs = nn.functional.conv2d(images, kernel.double(), dilation=dilation)
    picked = torch.tensor(centres) + origin - reach
    target = outputs[:, :, picked][:, :, :, picked].mean((2, 3))
    means = nn.functional.avg_pool2d(images, width, 1)
    at = torch.tensor(starts) + origin
    features = means[:, 0, at][:, :, at].flatten(1)
    expected = torch.linalg.lstsq(features, target).solution.T

    weights, variance = regress_on_means(kernel, dilation, starts, width, centres)
    assert weights.shape == (3, 1, len(starts), len(starts))
    scale = expected.abs().max()
    torch.testing.assert_close(weights.flatten(1) / scale, expected / scale, rtol=0, atol=0.06)
    fitted = features @ weights.flatten(1).T
    torch.testing.assert_close(variance[:, 0], fitted.var(0), rtol=0.03, atol=0)
    # What is explained and what is left add up to the whole: the fit is the projection.
    left = (target - fitted).var(0)
    torch.testing.assert_close(variance[:, 0] + left, target.var(0), rtol=0.03, atol=0)


def test_a_kernel_on_its_own_pixels_is_itself() -> None:
    kernel = torch.randn(4, 3, 5, 5)
    weights, _ = regress_on_means(kernel, 2, [-4, -2, 0, 2, 4])
    torch.testing.assert_close(weights, kernel.double(), rtol=1e-9, atol=1e-9)
