"""Steps replayed as CUDA graphs: the same training, and none where a network cannot be captured."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from spnas.training.graphs import replayed

CUDA = torch.device("cuda:0")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Network(nn.Module):
    """Counts how often Python runs its forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.head = nn.LazyLinear(2)
        self.head(self.body(torch.zeros(2, 3, 8, 8)))
        self.ran = 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.ran += 1
        return {"scores": self.head(self.body(images))}


class Choosy(Network):
    """What it computes depends on the values of its input."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        scores = super().forward(images)["scores"]
        return {"scores": scores if float(images.sum()) > 0 else -scores}


def batches(device: torch.device) -> list[Tensor]:
    """Thirty batches of two shapes."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(4 + i % 2, 3, 8, 8, generator=generator).to(device) for i in range(30)]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor) -> None:
    """Train on a batch; nothing of its backward is left when the next one is captured."""
    target = (images.mean(dim=(1, 2, 3)) > 0.5).long()
    loss = nn.functional.cross_entropy(model(images)["scores"], target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def trained(model: nn.Module) -> Tensor:
    """Train on those batches, on the model's device; give all weights."""
    device = next(model.parameters()).device
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for images in batches(device):
        step(model, optimizer, images)
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])


def test_on_a_cpu_nothing_changes() -> None:
    model = Network()
    with replayed(model, 1000):
        assert "forward" not in vars(model)


@pytest.mark.gpu
@gpu
def test_a_replayed_training_is_the_same_training() -> None:
    eager, replays = Network().to(CUDA), Network().to(CUDA)
    expected = trained(eager)
    with replayed(replays, 1000):
        got = trained(replays)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert eager.ran == 30
    assert replays.ran < 15
    assert "forward" not in vars(replays)


@pytest.mark.gpu
@gpu
def test_eval_mode_and_short_trainings_run_as_ever() -> None:
    model = Network().to(CUDA)
    with replayed(model, 10):
        assert "forward" not in vars(model)
    with replayed(model, 1000), torch.no_grad():
        for images in batches(CUDA):
            model(images)
            model.eval()(images)
            model.train()
    assert model.ran == 60


@pytest.mark.gpu
@gpu
def test_what_cannot_be_captured_trains_without(caplog: pytest.LogCaptureFixture) -> None:
    expected = trained(Choosy().to(CUDA))
    model = Choosy().to(CUDA)
    with caplog.at_level(logging.WARNING, "spnas"), replayed(model, 1000):
        got = trained(model)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert caplog.text.count("without CUDA graphs") == 1


@pytest.mark.gpu
@gpu
def test_the_memory_of_the_graphs_is_free_afterwards() -> None:
    model = Network().to(CUDA)
    trained(model)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(CUDA)
    with replayed(model, 1000):
        trained(model)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved(CUDA) <= before


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_the_models_own_device_is_captured() -> None:
    eager, replays = Network().to("cuda:1"), Network().to("cuda:1")
    expected = trained(eager)
    with replayed(replays, 1000):
        got = trained(replays)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert replays.ran < 15
