"""Where activations are nearly straight, and how alike pixels are taken to be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.operators import Host
from spnas.operators.blocks import RESTING_POINT, inner_activation, straight_line
from spnas.operators.smoothness import pixel_correlation


@pytest.mark.parametrize(
    "act", [nn.ReLU(), nn.LeakyReLU(0.1), nn.SiLU(), nn.Hardswish(), nn.GELU()]
)
def test_activations_follow_their_line_around_the_resting_point(act: nn.Module) -> None:
    value, slope = straight_line(act, torch.zeros(()))
    offsets = torch.linspace(-1, 1, 21)  # two swings
    line = value + slope * offsets
    assert (act(RESTING_POINT + offsets) - line).abs().max() < 0.2 * slope


def test_an_activation_that_is_flat_there_has_a_slope_to_divide_by() -> None:
    assert straight_line(nn.Hardtanh(), torch.zeros(())) == (1.0, 0.01)


def test_pixels_are_less_alike_with_each_step() -> None:
    correlation = pixel_correlation(3, torch.zeros((), dtype=torch.float64))
    centre = correlation[4].view(3, 3)
    expected = [[0.64, 0.8, 0.64], [0.8, 1, 0.8], [0.64, 0.8, 0.64]]
    torch.testing.assert_close(centre, torch.tensor(expected, dtype=torch.float64))
    assert correlation[0, 8] == pytest.approx(0.8**4)
    assert torch.linalg.eigvalsh(correlation).min() > 0


def test_inner_activation_is_the_hosts_own_kind_not_its_module_and_not_in_place() -> None:
    act = nn.SiLU(inplace=True)
    inner = inner_activation(Host(act))
    assert isinstance(inner, nn.SiLU)
    assert not inner.inplace
    assert act.inplace
    assert isinstance(inner_activation(Host()), nn.ReLU)
