"""Scores a fully trained model on validation images."""

from __future__ import annotations

from os import PathLike

import torch

from spnas.device import resolve_device
from spnas.errors import DataError
from spnas.finish import yolo
from spnas.finish.model import find_model
from spnas.finish.options import TrainingOptions
from spnas.tasks import check_data, open_task

_BATCH = 16


def validate_model(
    path: str | PathLike[str],
    *,
    data: str | None = None,
    imgsz: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    weights: str | PathLike[str] | None = None,
) -> dict[str, float]:
    """Score a trained model: a YOLO by Ultralytics' validator, any other network by its task.

    Args:
        path: The training's folder, weights in it, or the model yaml that was trained.
        data: Data set; None for the one it was trained on.
        imgsz: Image size, pixels; None for the one it was trained at.
        batch: Images of a forward, for a YOLO; None for 16.
        device: `auto`, `cpu`, `cuda` or `mps`.
        weights: Trained weights; None for the best ones of its training.

    Returns:
        Figures by the names of trials.csv, each in 0..1; of a YOLO also `precision` and `recall`.

    Raises:
        InputError: Something given cannot be used.
    """
    found = find_model(path)
    file = found.trained_weights(weights)
    where = resolve_device(device)
    options = TrainingOptions(found.imgsz(imgsz), str(where), batch=batch)
    info = check_data(found.kind, found.data(data))
    if info.num_classes != found.document.num_classes:
        raise DataError(
            f"{info.source}: expected the {found.document.num_classes} classes that {found.path} was trained on, "
            f"got {info.num_classes}"
        )
    if found.is_yolo:
        return yolo.validate(file, info, options.imgsz, batch or _BATCH, str(where))
    model = found.build_trained(file)
    task = open_task(found.kind, str(info.source), imgsz=options.imgsz, device=torch.device(where))
    task.attach(model)
    return task.evaluate(model.to(where).eval()).columns
