"""A plugin with trials of a tenth of a second: a tiny network, a score by a formula, a runtime without a clock.

For tests of everything around the trials; a `PYTHONPATH` with this folder in it installs it. A search takes the
ordinary path through every part of spnas. Accuracy and latency depend on the architecture alone, so that a trial that
is run again gives the very same figures. The data set is a folder; a file in it that is named as an architecture's
canonical text says what goes wrong with that one:

    raise | nan | no-score | killed | hang     each time
    once raise | ...                           the first time only

`pace` in the folder holds the seconds that a training step waits.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spnas.architecture import Architecture
from spnas.errors import DataError
from spnas.latency.runtimes import Sample, Sampler, register_runtime
from spnas.networks import Network, register_network
from spnas.networks.deploy import find_operators
from spnas.tasks import DataInfo, Score, register_task

KIND, NAME = "instant", "instant"
_IMGSZ = 8
_IMAGES = 8
_SITES = 3


class TinyNet(nn.Module):
    """A few convolutions of 8 channels with BatchNorms, the average over the image, two classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for i in range(1, _SITES + 1):
            self.add_module(f"conv{i}", nn.Conv2d(8 if i > 1 else 3, 8, 3, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(8))
        self.relu = nn.ReLU()
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1, _SITES + 1):
            x = self.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.fc(x.mean((2, 3)))


class InstantNetwork(Network):
    """TinyNet as a base network."""

    name = NAME
    kind = KIND  # type: ignore[assignment]
    default_imgsz = _IMGSZ
    default_classes = 2

    def build(self, num_classes: int | None = None) -> nn.Module:
        return TinyNet(num_classes or self.default_classes)


def accuracy_of(architecture: Architecture) -> float:
    """Give the accuracy that the task says an architecture has: less for every replaced site, and a share of chance."""
    chance = int(architecture.id, 16) / 16**8
    return 0.9 - 0.08 * len(architecture) - 0.05 * chance


class InstantTask:
    """Noise to train on, a formula for the score, and whatever is to go wrong."""

    kind, metric, columns = KIND, "top1", ("top1",)
    num_classes, train_images = 2, _IMAGES

    def __init__(self, folder: Path) -> None:
        self.imgsz, self._folder = _IMGSZ, folder
        self._device = torch.device("cpu")
        self._images = torch.rand(16, 3, _IMGSZ, _IMGSZ, generator=torch.Generator().manual_seed(0))
        pace = folder / "pace"
        self._pace = float(pace.read_text()) if pace.exists() else 0.0

    def attach(self, model: nn.Module) -> None:
        pass

    def train_batches(self, batch_size: int, seed: int) -> Iterator[Tensor]:
        yield self._images[:_IMAGES]

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        time.sleep(self._pace)
        fault = self._fault(architecture_of(model))
        if fault == "raise":
            raise RuntimeError("a fault that was asked for")
        if fault == "killed":  # as by the kernel where memory is out
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            time.sleep(3600)
        loss = model(batch).square().mean()
        return loss * torch.nan if fault == "nan" else loss

    def _fault(self, architecture: Architecture) -> str | None:
        file = self._folder / architecture.text
        if architecture.is_base or not file.exists():
            return None
        fault = file.read_text().strip()
        if fault.startswith("once "):
            file.unlink()
        return fault.removeprefix("once ")

    def calibration_images(self, images: int, seed: int = 0) -> Iterator[Tensor]:
        yield self._images

    def evaluate(self, model: nn.Module) -> Score:
        architecture = architecture_of(model)
        value = accuracy_of(architecture)
        return Score(
            "top1", {"top1": torch.nan if self._fault(architecture) == "no-score" else value}
        )

    def example(self, batch_size: int = 1) -> Tensor:
        return self._images[:batch_size]

    def to(self, device: torch.device) -> InstantTask:
        return self


def architecture_of(model: nn.Module) -> Architecture:
    """Read a training form's architecture back."""
    return Architecture({name: op.choice for name, op in find_operators(model).items()})


class InstantFactory:
    """Opens the task on a folder."""

    def check(self, data: str | None) -> DataInfo:
        if data is None or not Path(data).is_dir():
            raise DataError(f"{data}: expected a folder")
        folder = Path(data)
        return DataInfo(
            KIND, folder, ("no", "yes"), (folder,), (folder,), _IMAGES, _IMAGES, ("top1",)
        )

    def open(self, data: str | None, *, imgsz: int, device: torch.device) -> InstantTask:
        return InstantTask(Path(data or "."))


class _Session:
    """Says that a network takes a microsecond for each parameter."""

    runtime, clock, dtype = NAME, "none", torch.float32

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        seconds = 1e-6 * sum(parameter.numel() for parameter in model.parameters())
        return Sampler(lambda forwards: Sample(forwards * seconds, forwards * seconds))


@contextmanager
def _instant_session(device: torch.device, threads: int) -> Iterator[Any]:
    yield _Session()


register_network(InstantNetwork())
register_task(KIND, InstantFactory())
register_runtime(NAME, ("cpu",))(_instant_session)
