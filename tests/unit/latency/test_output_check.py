"""The comparison of a runtime's output with torch's: what it sees, and what it lets pass."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spnas.errors import SpnasError
from spnas.latency.runtimes.output_check import (
    FLOOR,
    TOLERANCES,
    check_output,
    effective_dtype,
    error,
    expect,
)
from spnas.networks import deploy_model, get_network

IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
HALF = (torch.bfloat16, torch.float16)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3)).eval()


@torch.no_grad()
def output(model: nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    result: Tensor = copy.deepcopy(model).to(dtype)(IMAGE.to(dtype))
    return result


@pytest.mark.parametrize("shape", [(1, 3), (2, 5), (2, 4, 6), (2, 3, 4, 5)])
def test_error_is_the_largest_difference_over_its_channels_largest_value(
    shape: tuple[int, ...],
) -> None:
    generator = torch.Generator().manual_seed(1)
    exact = torch.randn(shape, generator=generator)
    other = exact + 1e-2 * torch.randn(shape, generator=generator)
    exact[:, 0], other[:, 0] = 1e-9, 2e-9  # a channel that is zero but for rounding
    largest = float(exact.abs().max())
    found = 0.0
    for channel in range(shape[1]):
        own, off = exact[:, channel], (other - exact)[:, channel]
        size = max(float(own.abs().max()), FLOOR * largest) if len(shape) > 2 else largest
        found = max(found, float(off.abs().max()) / size)
    assert error(exact, other) == pytest.approx(found)


def test_zero_has_to_be_zero() -> None:
    zero = torch.zeros(1, 2, 3)
    assert error(zero, zero) == 0
    assert error(zero, zero + 1e-30) == math.inf


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_right_output_passes_and_a_wrong_one_does_not(dtype: torch.dtype) -> None:
    model, other = network(), network()
    with torch.no_grad():
        other[2].weight[3] *= 1.5  # type: ignore[index]
    expected = expect(model, IMAGE, dtype)
    assert check_output("mine", [output(model, dtype)], expected) <= 0.5 * expected.allowed[0]
    with pytest.raises(SpnasError, match=r"runtime mine: expected torch's float32 output within"):
        check_output("mine", output(other, dtype), expected)


@pytest.mark.parametrize("dtype", HALF)
def test_a_network_that_amplifies_rounding_may_be_off_by_as_much(dtype: torch.dtype) -> None:
    class Cancels(nn.Module):
        """Has two weights that half precision cannot tell apart."""

        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.tensor([1.1, 1.1 + 5e-5]))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weights[1] - self.weights[0]) * x

    model = Cancels()
    expected = expect(model, IMAGE, dtype)
    assert check_output("mine", output(model, dtype), expected) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_number_that_is_none_does_not_pass(wrong: float) -> None:
    model = network()
    for dtype in TOLERANCES:
        bad = output(model)
        bad[0, 0, 0, 0] = wrong
        with pytest.raises(SpnasError, match="expected torch's float32 output"):
            check_output("mine", bad, expect(model, IMAGE, dtype))
    with pytest.raises(SpnasError, match="float16 may overflow with fresh weights"):
        check_output("mine", bad, expect(model, IMAGE, torch.float16))


def test_shapes_and_the_number_of_tensors_are_compared() -> None:
    model = network()
    expected, right = expect(model, IMAGE, torch.float32), output(model)
    for bad in (right[:, :4], right[0], [right, right], []):
        with pytest.raises(SpnasError, match=r"expected torch's output \[\(1, 8, 28, 28\)\], got"):
            check_output("mine", bad, expected)


def test_every_tensor_of_a_nested_output_is_compared() -> None:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
            return x, {"features": [2 * x, 3 * x]}

    expected = expect(Head(), IMAGE, torch.float32)
    right = [IMAGE, (2 * IMAGE).numpy(), 3 * IMAGE]
    assert check_output("mine", right, expected) == 0
    for place, factor in itertools.product(range(3), (0.99, -1.0)):
        wrong = list(right)
        wrong[place] = np.float32(factor) * np.asarray(right[place])
        with pytest.raises(SpnasError):
            check_output("mine", wrong, expected)


def test_a_detectors_class_scores_are_seen_beside_its_boxes() -> None:
    """They share a tensor with box coordinates that are hundreds of times larger."""
    torch.manual_seed(0)
    model = deploy_model(get_network("yolov8n").build(3))
    head = model.model[-1]  # type: ignore[index]
    head.export = True
    for branch in head.cv3:
        nn.init.zeros_(branch[-1].bias)  # scores of a half, as a trained network has some
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = expect(model, image, torch.float32)
    with torch.no_grad():
        right = copy.deepcopy(model)(image)
    assert check_output("mine", right, expected) == 0
    right[:, 4:] *= 1.02
    with pytest.raises(SpnasError, match="off"):
        check_output("mine", right, expected)


def test_cuda_calculates_float32_in_tf32() -> None:
    cuda, cpu = torch.device("cuda:0"), torch.device("cpu")
    assert effective_dtype(torch.float32, cuda) == torch.float16
    assert effective_dtype(torch.float32, cpu) == torch.float32
    assert effective_dtype(torch.bfloat16, cuda) == torch.bfloat16
