"""Where a training has got to, kept in a file, so that one that was interrupted goes on instead of beginning again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spnas.errors import RunError
from spnas.runs import atomic_file

logger = logging.getLogger("spnas")

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
        needed: Whether a training that finds none of its own is an error; it begins at its beginning otherwise.
        most_often_s: Seconds between two writings, at least. Writing takes a twentieth of the time at most.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        path: Path,
        *,
        needed: bool = False,
        most_often_s: float = _MOST_OFTEN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self._needed = path, needed
        self._most_often_s, self._clock = most_often_s, clock
        self._next = clock() + most_often_s

    def restore(self, training: Training) -> tuple[int, float]:
        """Put a training where it was.

        Returns:
            Epochs done and the seconds that they took; 0 and 0 where there is no checkpoint of this training.

        Raises:
            RunError: There is none, and it is needed.
        """
        kept = self._read()
        if kept is None or kept["identity"] != training.identity:
            if self._needed:
                raise RunError(
                    f"{self.path}: expected where this training was interrupted, got a damaged file or "
                    "another training's: the data set, the model, options or the version of spnas have changed"
                )
            return 0, 0.0
        device = next(training.model.parameters()).device
        training.model.load_state_dict(kept["model"])
        training.optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        if device.type == "cuda" and kept["random_cuda"] is not None:
            torch.cuda.set_rng_state(kept["random_cuda"], device)
        return kept["epochs"], kept["seconds"]

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            return kept if isinstance(kept, dict) and "identity" in kept else None
        except Exception as error:  # torch.load has no error of its own for damaged files
            logger.warning("%s cannot be read: %s", self.path, type(error).__name__)
            return None

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
        """Remove the file, as after the training's end, and what a kill while it was written has left."""
        self.path.unlink(missing_ok=True)
        for part in self.path.parent.glob(f".{self.path.name}.*"):
            part.unlink(missing_ok=True)
