"""Where a training has got to, kept in a file, so that one that was interrupted goes on instead of beginning again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from spnas.runs import atomic_file

_MOST_OFTEN_S = 10.0
_SHARE = 0.05  # of a training's time, at most


@dataclass(frozen=True)
class Training:
    """What of a training changes from step to step.

    Attributes:
        model: On the device that trains.
        optimizer: Of all its parameters.
        identity: Text that tells this training from others: it goes on only from a checkpoint of its own.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    identity: str


class Checkpoint:
    """A training's weights, optimizer and random numbers after one of its epochs.

    On the CPU a training that goes on from it ends with the weights that it would have had without a break.

    Args:
        path: The file; its folder must exist.
        most_often_s: Seconds between two writings, at least. Writing takes a twentieth of the time at most.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        path: Path,
        most_often_s: float = _MOST_OFTEN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self._most_often_s, self._clock = path, most_often_s, clock
        self._next = clock() + most_often_s

    def restore(self, training: Training) -> tuple[int, float]:
        """Put a training where it was.

        Returns:
            Epochs done and the seconds that they took; 0 and 0 where there is no checkpoint of this training.
        """
        if not self.path.is_file():
            return 0, 0.0
        device = next(training.model.parameters()).device
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
        if kept["identity"] != training.identity:
            return 0, 0.0
        training.model.load_state_dict(kept["model"])
        training.optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        if device.type == "cuda" and kept["random_cuda"] is not None:
            torch.cuda.set_rng_state(kept["random_cuda"], device)
        return kept["epochs"], kept["seconds"]

    def keep(self, training: Training, epochs: int, seconds: float) -> None:
        """Write where a training is after so many epochs, which took so many seconds, unless it was just written."""
        started = self._clock()
        if started < self._next:
            return
        device = next(training.model.parameters()).device
        cuda = device.type == "cuda"
        content = {
            "identity": training.identity,
            "epochs": epochs,
            "seconds": seconds,
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(device) if cuda else None,
        }
        with atomic_file(self.path) as file:
            torch.save(content, file)
        took = self._clock() - started
        self._next = self._clock() + max(self._most_often_s, took / _SHARE)

    def remove(self) -> None:
        """Remove the file, as after the training's end."""
        self.path.unlink(missing_ok=True)
