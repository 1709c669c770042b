"""How long and how fast a training runs, and the defaults for each kind of task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from spnas.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """A training's length and learning rate.

    Attributes:
        epochs: Passes over the training images.
        rungs: Epochs, before the last, after which the model is scored and reported.
        batch_size: Images of a step.
        lr: Highest learning rate; it rises linearly during the warm-up and falls along a cosine to 0.
        warmup: Share of all steps that the warm-up takes.
        weight_decay: Of AdamW, on convolution and linear weights only.
        calibration: Training images that BatchNorm statistics are estimated on before each scoring.

    Raises:
        ConfigError: A value out of range.
    """

    epochs: int
    rungs: tuple[int, ...] = ()
    batch_size: int = 8
    lr: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 5e-4
    calibration: int = 96

    def __post_init__(self) -> None:
        problems = [
            f"{name}: expected {expected}, got {getattr(self, name)!r}"
            for name, good, expected in (
                ("epochs", self.epochs >= 1, "at least 1"),
                ("batch_size", self.batch_size >= 2, "at least 2"),
                ("lr", self.lr > 0 and math.isfinite(self.lr), "a positive number"),
                ("warmup", 0 <= self.warmup < 1, "a share from 0 to below 1"),
                ("weight_decay", self.weight_decay >= 0, "no negative number"),
                ("calibration", self.calibration >= 2, "at least 2"),
                ("rungs", self._rungs_rise(), f"rising epochs from 1 to {self.epochs - 1}"),
            )
            if not good
        ]
        if problems:
            raise ConfigError(problems)

    def _rungs_rise(self) -> bool:
        marks = (0, *self.rungs, self.epochs)
        return all(a < b for a, b in pairwise(marks))

    def lr_at(self, step: int, steps: int) -> float:
        """Give the learning rate of a step out of all steps, both counted from 0."""
        warm = round(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


# The base's as measured on the embedded sets: docs/tasks.md. The candidates' for detection by how well it ranks them:
# a second epoch costs as much again and ranks no better (benchmarks/results/proxy_rank_yolov8n.md).
_BASE = {"detect": Schedule(epochs=14), "classify": Schedule(epochs=4, batch_size=32)}
_PROXY = {
    "detect": Schedule(epochs=1),
    "classify": Schedule(epochs=2, rungs=(1,), batch_size=32),
}


def doubling_rungs(epochs: int) -> tuple[int, ...]:
    """Give the rungs of a longer training, each at twice the epochs of the one before: 1, 2, 4, ... below the last."""
    return tuple(2**power for power in range(epochs.bit_length()) if 2**power < epochs)


def base_schedule(kind: str) -> Schedule:
    """Give the default schedule of a base network that starts from fresh weights."""
    return _BASE.get(kind, Schedule(epochs=14))


def proxy_schedule(kind: str) -> Schedule:
    """Give the default schedule of a candidate that inherits the trained base's weights."""
    return _PROXY.get(kind, Schedule(epochs=2, rungs=(1,)))
