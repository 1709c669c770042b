"""A training that does not fit into the device's memory is run again with half the batch, once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from spnas.tasks.base import Task
from spnas.training.loop import TrainingResult, train
from spnas.training.schedule import Schedule


def train_within_memory(
    model: nn.Module,
    rebuild: Callable[[], nn.Module],
    task: Task,
    schedule: Schedule,
    **options: Any,
) -> tuple[nn.Module, TrainingResult]:
    """Train as `train` does; where memory runs out, train once more from the start with half the batch.

    The result's `batch_size` says which it was.

    Args:
        model: On the device that trains.
        rebuild: Gives the same model untrained, on any device.
        task: Data, loss and metric.
        schedule: Length, rungs, batch and learning rate.
        options: More arguments of `train`. Rungs may be reported twice.

    Returns:
        The model that was trained, and what `train` says of it.

    Raises:
        TrainingError: The loss is not a finite number.
        torch.OutOfMemoryError: Half the batch does not fit either, or is less than two images.
    """
    device = next(model.parameters()).device
    try:
        return model, train(model, task, schedule, **options)
    except torch.OutOfMemoryError:
        if schedule.batch_size < 4:
            raise
    # Here, as the exception that was handled held on to the tensors of the failed step.
    model.cpu()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    model = rebuild().to(device)
    halved = replace(schedule, batch_size=schedule.batch_size // 2)
    return model, train(model, task, halved, **options)
