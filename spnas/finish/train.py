"""A found model's full training: Ultralytics' own for a YOLO, a recipe on the house's loop for any other network."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from spnas.device import resolve_device
from spnas.errors import ConfigError, RunError
from spnas.finish import recipe, yolo
from spnas.finish.model import FoundModel, find_model
from spnas.finish.options import TrainingOptions
from spnas.finish.start import starting_model
from spnas.tasks import check_data

logger = logging.getLogger("spnas")


@dataclass(frozen=True)
class Trained:
    """What a full training gave.

    Attributes:
        folder: Where everything is.
        weights: The best epoch's weights.
        scores: Their figures on the validation images, by the names of trials.csv, each in 0..1.
        start: What the training started from, in words; None where it was resumed.
    """

    folder: Path
    weights: Path
    scores: dict[str, float]
    start: str | None = None


def train_model(
    path: str | PathLike[str],
    *,
    data: str | None = None,
    epochs: int | None = None,
    imgsz: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    seed: int = 0,
    weights: str | PathLike[str] | None = None,
    scratch: bool = False,
    output: str | PathLike[str] | None = None,
    **settings: Any,
) -> Trained:
    """Train a found model fully.

    Args:
        path: A model yaml, such as one of a run's front.
        data: Data set; None for the run's own.
        epochs: Passes over the training images; None for 100 of a YOLO, 60 of any other network.
        imgsz: Image size, pixels; None for the one that the model was measured at.
        batch: Images of a step; None for 16 of a YOLO, 32 of any other network.
        device: `auto`, `cpu`, `cuda` or `mps`; for a YOLO also several GPUs, `0,1`.
        seed: Of everything random.
        weights: Weights of the trained base network to inherit from; None for those of the run.
        scratch: Start from fresh weights instead.
        output: Folder to write, which must hold no training yet; None for `trained/<name of the yaml>` in the run
            directory.
        settings: Ultralytics' other training settings, such as `lr0=0.005`, for a YOLO.

    Raises:
        InputError: Something given cannot be used; nothing was written then.
        TrainingError: The loss is not a finite number.
    """
    found = find_model(path, output)
    _check(found, weights, scratch, settings)
    options = TrainingOptions(
        imgsz=found.imgsz(imgsz),
        device=_device(found, device),
        epochs=epochs,
        batch=batch,
        seed=seed,
        settings=settings,
    )
    info = check_data(found.kind, found.data(data))
    torch.manual_seed(seed)
    model, start = starting_model(found, info.num_classes, weights=weights, scratch=scratch)
    logger.info("%s: training from %s, into %s", found.path, start, found.folder)
    train = yolo.train if found.is_yolo else recipe.train
    with _told_when_interrupted(found):
        scores = train(found, model, info, options)
    return Trained(found.folder, found.weights, scores, start)


def resume_training(
    path: str | PathLike[str], output: str | PathLike[str] | None = None
) -> Trained:
    """Go on with an interrupted training after its last epoch.

    Args:
        path: The model yaml that the training was started with, or the training's folder.
        output: The folder, where another one than the default was given.

    Raises:
        InputError: There is nothing to go on with.
    """
    found = find_model(path, output)
    logger.info("%s: the training in %s goes on", found.path, found.folder)
    resume = yolo.resume if found.is_yolo else recipe.resume
    with _told_when_interrupted(found):
        scores = resume(found)
    return Trained(found.folder, found.weights, scores)


@contextmanager
def _told_when_interrupted(found: FoundModel) -> Iterator[None]:
    """Tell at a Ctrl-C how the training goes on, where an epoch of it is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if _goes_on(found):
            logger.info("interrupted: `spnas train %s --resume` goes on", found.folder)
        raise


def _goes_on(found: FoundModel) -> bool:
    """Whether there is a training to go on with; of a YOLO's whether it is complete only Ultralytics knows."""
    if found.is_yolo:
        return found.weights.with_name("last.pt").is_file()
    return recipe.is_interrupted(found)


def _check(
    found: FoundModel,
    weights: str | PathLike[str] | None,
    scratch: bool,
    settings: Mapping[str, Any],
) -> None:
    """Check what can be checked before the data."""
    if scratch and weights is not None:
        raise ConfigError("--scratch: expected no --weights beside it")
    if found.is_yolo:
        yolo.check_settings(settings)
    elif settings:
        raise ConfigError(
            f"{', '.join(settings)}: settings of Ultralytics' trainer, which does not train "
            f"{found.document.network.name}"
        )
    if any(found.weights.parent.glob("[!.]*")):  # not what a kill while one was written has left
        resume = "go on with it by --resume, or " if _goes_on(found) else ""
        raise RunError(f"{found.folder} holds a training: {resume}give another --output")


def _device(found: FoundModel, name: str) -> str:
    """Check the device; several GPUs are left to Ultralytics."""
    if found.is_yolo and "," in name:
        return name
    return str(resolve_device(name))
