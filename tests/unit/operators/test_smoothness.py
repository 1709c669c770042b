"""The assumed correlation of neighbouring pixels, against sampled images that have it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spnas.operators.inheritance import output_norm
from spnas.operators.smoothness import NEIGHBOUR_CORRELATION, centre_taps, shrunk, whitened_taps


def smooth_patches(count: int, k: int, dilation: int) -> Tensor:
    """Patches `(count, k * k)`: along rows and along columns, pixels follow a first-order autoregression."""
    rho, size = NEIGHBOUR_CORRELATION, dilation * (k - 1) + 1
    images = torch.randn(count, size, size, dtype=torch.float64)
    for lines in (images, images.mT):
        for i in range(1, size):
            lines[:, i] = rho * lines[:, i - 1] + (1 - rho**2) ** 0.5 * lines[:, i]
    return images[:, ::dilation, ::dilation].flatten(1)


def test_squared_lengths_are_variances_on_smooth_images() -> None:
    for k, dilation in ((3, 1), (5, 1), (3, 2)):
        conv = nn.Conv2d(1, 4, k, dilation=dilation)
        taps, to_kernel = whitened_taps(conv)
        variance = (smooth_patches(100_000, k, dilation) @ conv.weight.double().flatten(1).T).var(0)
        torch.testing.assert_close(taps.square().sum((1, 2)), variance, rtol=0.03, atol=0)
        torch.testing.assert_close((taps @ to_kernel).float(), conv.weight.flatten(2))


def test_centre_taps_are_the_regression_on_the_centre_pixel() -> None:
    conv = nn.Conv2d(1, 4, 3)
    patches = smooth_patches(100_000, 3, 1)
    outputs = patches @ conv.weight.double().flatten(1).T
    regression = torch.linalg.lstsq(patches[:, 4:5], outputs).solution.T
    torch.testing.assert_close(centre_taps(conv), regression, rtol=0, atol=0.01)


def test_a_shrunk_norm_is_the_best_multiple() -> None:
    """Of an approximation that has the target's variance and correlates with it by 0.6, 0.6 is the best multiple."""
    target, other = torch.randn(2, 100_000)
    approximation = 0.6 * target + 0.8 * other
    best = torch.linalg.lstsq(approximation[:, None], target[:, None]).solution.item()
    norm = output_norm(nn.Conv2d(3, 2, 3), None)
    got = shrunk(norm, torch.tensor([0.36, 0.0]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(got.weight, norm.weight * torch.tensor([0.6, 1.0]))
    assert abs(best - 0.6) < 0.01
