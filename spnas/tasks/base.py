"""What a task is: the data, the loss and the metric that architectures are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


DETECTION_COLUMNS = ("map50_95", "map50")
CLASSIFICATION_COLUMNS = ("top1",)


@dataclass(frozen=True)
class DataInfo:
    """A data set as it was found on disk.

    Attributes:
        kind: `detect` or `classify`.
        source: The data.yaml, or the folder that holds `train` and `val`.
        names: Class names, in the order of their numbers.
        train: Image folders, image files or lists of images to train on.
        val: The same for validation.
        train_images: Number of training images; 0 where they were not counted.
        val_images: Number of validation images, likewise.
        columns: Figures that a model gets on it, the one to maximize first.
        imgsz: Image size the data set is meant for, pixels; None where the network's default serves.
    """

    kind: str
    source: Path
    names: tuple[str, ...]
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    train_images: int = 0
    val_images: int = 0
    columns: tuple[str, ...] = ()
    imgsz: int | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    def document(self) -> dict[str, Any]:
        """Give a data.yaml's content that says the same from any working directory."""
        paths = {"train": self.train, "val": self.val}
        found = {key: [str(path.resolve()) for path in value] for key, value in paths.items()}
        return {**found, "names": dict(enumerate(self.names))}


@dataclass(frozen=True)
class Score:
    """What an evaluation says of a model.

    Attributes:
        metric: The name of the figure the search maximizes, `map50_95` or `top1`.
        values: Every figure by its column name, `{"map50_95": .., "map50": ..}` or `{"top1": ..}`, each in 0..1.
        std: How far they would wander on other validation images of the same kind, a standard deviation, by the same
            names; empty where it is not known.
    """

    metric: str
    values: dict[str, float]
    std: dict[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The figure the search maximizes."""
        return self.values[self.metric]

    @property
    def columns(self) -> dict[str, float]:
        """All of it by the names of trials.csv, a spread's with `_std`."""
        return {**self.values, **{f"{name}_std": spread for name, spread in self.std.items()}}


@runtime_checkable
class Task(Protocol):
    """Data, loss and metric. Made once in each worker process and used for many models.

    A batch is whatever the task makes it; only the task looks inside.

    Attributes:
        kind: `detect` or `classify`.
        metric: Name of the figure to maximize, also its CSV column.
        columns: Names of all figures of a Score, the metric first.
        num_classes: Classes of the data set.
        imgsz: Height and width of the square input, pixels.
        train_images: Images of one training epoch.
    """

    kind: str
    metric: str
    columns: tuple[str, ...]
    num_classes: int
    imgsz: int
    train_images: int

    def attach(self, model: nn.Module) -> None:
        """Give the model what its loss and metric need (class names, hyperparameters)."""

    def train_batches(self, batch_size: int, seed: int) -> Iterator[Any]:
        """Iterate over one epoch of augmented batches on the device, shuffled by the seed."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Run the model in training mode on a batch; give the scalar loss, a mean over the batch's images."""

    def calibration_images(self, images: int, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over `(N, 3, H, W)` training images, augmented as in training, the same ones for the same seed."""

    def evaluate(self, model: nn.Module) -> Score:
        """Score the model in eval mode on the validation images."""

    def example(self, batch_size: int = 1) -> Tensor:
        """Give a `(batch_size, 3, imgsz, imgsz)` float input of validation images, on the CPU."""

    def to(self, device: torch.device) -> Task:
        """Use this device from now on; gives the task itself."""
