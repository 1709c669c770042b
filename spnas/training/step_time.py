"""How long a training step takes on the threads that torch has now."""

from __future__ import annotations

import time
from typing import Any

from torch import nn

from spnas.tasks.base import Score, Task
from spnas.training.loop import train
from spnas.training.schedule import Schedule


class _Brief:
    """A task with a few batches of training images, that is not scored."""

    def __init__(self, task: Task, images: int) -> None:
        self._task = task
        self.train_images = images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def evaluate(self, model: nn.Module) -> Score:
        return Score(self._task.metric, {self._task.metric: 0.0})


def step_seconds(model: nn.Module, task: Task, batch_size: int, steps: int = 2) -> float:
    """Time a training step, with its images made ready.

    Args:
        model: On the task's device; its weights hardly change, its BatchNorm statistics do.
        task: Where images come from, and the loss.
        batch_size: Images of a step.
        steps: So many are timed, after as many that are not.

    Returns:
        Wall seconds.
    """
    ended: list[float] = []

    def note(_epoch: int, _loss: float) -> None:
        ended.append(time.perf_counter())

    brief = _Brief(task, min(steps * batch_size, task.train_images))
    short = Schedule(epochs=2, batch_size=batch_size, lr=1e-6, calibration=2)
    train(model, brief, short, seed=0, progress=note)
    return (ended[1] - ended[0]) / -(-brief.train_images // batch_size)
