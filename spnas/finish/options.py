"""What a full training is run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spnas.errors import ConfigError


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a full training, alike for every trainer.

    Attributes:
        imgsz: Image size, pixels.
        device: `cpu`, `cuda:0`, `mps`, or several GPUs, `0,1`.
        epochs: Passes over the training images; None for the trainer's default.
        batch: Images of a step; None for the trainer's default.
        seed: Of everything random.
        settings: Further settings of Ultralytics' trainer.

    Raises:
        ConfigError: A number that is not above zero.
    """

    imgsz: int
    device: str
    epochs: int | None = None
    batch: int | None = None
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {"epochs": self.epochs, "imgsz": self.imgsz, "batch": self.batch}
        problems = [
            f"--{name}: expected a number above 0, got {value}"
            for name, value in numbers.items()
            if value is not None and value < 1
        ]
        if problems:
            raise ConfigError(problems)
