"""Peak memory against networks whose peak is counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from spnas.latency import peak_memory_mb
from spnas.networks import deploy_model, get_network

CPU = torch.device("cpu")
MAP = 8 * 8 * 4  # bytes of one channel of an 8 x 8 map in float32
WEIGHTS = 4 * ((3 * 8 * 9 + 8) + (8 * 4 * 9 + 4))
INPUT = 3 * MAP


def convolutions(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), activation, nn.Conv2d(8, 4, 3, padding=1))


class Residual(nn.Module):
    """Keeps the first map while two others are made of it; views of it cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.first(x)
        halves = kept.view(-1, 2, 4, 8, 8)[:, 0], kept[:, 4:]
        return self.second(torch.relu(kept)) + halves[0] + halves[1]


@pytest.mark.parametrize(
    ("model", "live"),
    [
        (convolutions(nn.ReLU()), 8 + 8),  # the activation's input and output
        (convolutions(nn.ReLU(inplace=True)), 8 + 4),  # the second convolution's
        (nn.Sequential(*convolutions(nn.ReLU()), nn.Flatten()), 8 + 8),
        (Residual(), 8 + 8 + 4),  # the kept map, relu's, the second convolution's
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_counted_by_hand(model: nn.Module, live: int, batch: int) -> None:
    expected = WEIGHTS + batch * (INPUT + live * MAP)
    example = torch.rand(batch, 3, 8, 8)
    assert peak_memory_mb(model, example, CPU) == pytest.approx(expected / 1e6, rel=1e-12)


def test_two_maps_of_different_age() -> None:
    """The peak is not at the end, nor is it the sum of all that was ever made."""
    wide, narrow = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 1, 1)
    model = nn.Sequential(wide, narrow, nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    weights = 4 * sum(p.numel() for p in model.parameters())
    expected = weights + INPUT + (32 + 1) * MAP
    assert peak_memory_mb(model, torch.rand(1, 3, 8, 8), CPU) == pytest.approx(expected / 1e6)


def test_a_detector_takes_the_same_each_time_and_is_left_alone() -> None:
    model = deploy_model(get_network("yolov8n").build(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    example = torch.rand(1, 3, 64, 64)
    first, again = (peak_memory_mb(model, example, CPU) for _ in range(2))
    weights = sum(tensor.nbytes for tensor in before.values()) / 1e6
    assert first == again
    assert weights < first < 2 * weights
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_holds_at_least_what_is_counted() -> None:
    model, example = convolutions(nn.ReLU()), torch.rand(8, 3, 256, 256)
    counted, allocated = (peak_memory_mb(model, example, torch.device(d)) for d in ("cpu", "cuda"))
    assert counted <= allocated < counted + 512
