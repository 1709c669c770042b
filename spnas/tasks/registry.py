"""The kinds of task by name: how to check their data and how to open them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spnas.errors import ConfigError
from spnas.names import near_miss
from spnas.tasks.base import DataInfo, Task

if TYPE_CHECKING:
    import torch


class TaskFactory(Protocol):
    """Checks and opens the data sets of one kind of task."""

    def check(self, data: str | None) -> DataInfo:
        """Look at every file of a data set, None being the embedded one.

        Raises:
            DataError: Every problem found.
        """

    def open(self, data: str | None, *, imgsz: int, device: torch.device) -> Task:
        """Open a data set for training."""


class _Detection:
    """Detection; Ultralytics is imported when a data set is opened, not when it is checked."""

    def check(self, data: str | None) -> DataInfo:
        from spnas.tasks.detection_check import check_detection

        return check_detection(data)

    def open(self, data: str | None, *, imgsz: int, device: torch.device) -> Task:
        from spnas.tasks.detection import DetectionTask

        return DetectionTask(data, imgsz=imgsz, device=device)


class _Classification:
    """Classification of images in one folder a class."""

    def check(self, data: str | None) -> DataInfo:
        from spnas.tasks.classification_check import check_classification

        return check_classification(data)

    def open(self, data: str | None, *, imgsz: int, device: torch.device) -> Task:
        from spnas.tasks.classification import ClassificationTask

        return ClassificationTask(data, imgsz=imgsz, device=device)


_FACTORIES: dict[str, TaskFactory] = {"detect": _Detection(), "classify": _Classification()}


def register_task(kind: str, factory: TaskFactory) -> None:
    """Make a kind of task known; networks name the kind they are for.

    Raises:
        ValueError: The kind is registered already.
    """
    if kind in _FACTORIES:
        raise ValueError(f"a task of kind {kind!r} is registered already")
    _FACTORIES[kind] = factory


def _factory(kind: str) -> TaskFactory:
    if kind not in _FACTORIES:
        raise ConfigError(
            f"unknown kind of task {kind!r}, known: {', '.join(sorted(_FACTORIES))}{near_miss(kind, _FACTORIES)}"
        )
    return _FACTORIES[kind]


def check_data(kind: str, data: str | None) -> DataInfo:
    """Look at every image and label of a data set before any training.

    Args:
        kind: `detect` or `classify`, or a registered kind.
        data: A data.yaml in Ultralytics' format, or a folder with `train` and `val`; None for the embedded set.

    Returns:
        Where the images are, how many, and the class names.

    Raises:
        DataError: Every problem found, each saying which file and line.
        ConfigError: The kind is not known.
    """
    return _factory(kind).check(data)


def open_task(kind: str, data: str | None, *, imgsz: int, device: torch.device) -> Task:
    """Open a data set for training and validation; its images stay in memory where they fit.

    Only what is needed to open it is checked here: call `check_data` once before.

    Args:
        kind: `detect` or `classify`, or a registered kind.
        data: As for `check_data`.
        imgsz: Height and width of the square input, pixels.
        device: Where batches go.

    Raises:
        DataError: The data set is not there or cannot be read.
        ConfigError: The kind is not known.
    """
    return _factory(kind).open(data, imgsz=imgsz, device=device)
