"""One lean training loop for every task: the proxy that architectures are compared by."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from spnas.errors import TrainingError
from spnas.tasks.base import Score, Task
from spnas.training.batchnorm import reestimate_batchnorm
from spnas.training.checkpoint import Checkpoint, Training
from spnas.training.flat import laid_flat
from spnas.training.graphs import replayed
from spnas.training.precision import autocast
from spnas.training.schedule import Schedule

MAX_GRADIENT_NORM = 10.0  # as Ultralytics' trainer clips


class SharedLock(Protocol):
    """A lock that trainings share and that a latency measurement takes for itself."""

    def shared(self) -> AbstractContextManager[Any]:
        """Hold the lock together with other trainings."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave, at a rung or at its end.

    Attributes:
        score: The last score.
        epochs: Epochs done.
        batch_size: Images of a training step.
        train_s: Wall seconds of training and validation, without waiting for the lock.
        stopped: Whether it is not, or was not, trained to the last epoch.
    """

    score: Score
    epochs: int
    batch_size: int
    train_s: float
    stopped: bool


Report = Callable[[TrainingResult], bool]
Progress = Callable[[int, float], None]


@dataclass
class _Stopwatch:
    """Counts the seconds spent inside `running`, after the lock was got."""

    device: torch.device
    lock: SharedLock | None
    seconds: float = 0.0
    _nothing: AbstractContextManager[Any] = field(default_factory=contextlib.nullcontext)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self.lock.shared() if self.lock else self._nothing:
            started = time.perf_counter()
            try:
                yield
                if self.lock and self.device.type == "cuda":
                    torch.cuda.synchronize(
                        self.device
                    )  # kernels still queued would disturb whoever measures next
            finally:
                self.seconds += time.perf_counter() - started


def train(
    model: nn.Module,
    task: Task,
    schedule: Schedule,
    *,
    seed: int,
    report: Report | None = None,
    progress: Progress | None = None,
    lock: SharedLock | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingResult:
    """Train a model on a task and score it, at each rung and at the end.

    AdamW, gradients clipped, the learning rate decaying to 0 over the whole schedule; BatchNorm statistics are
    re-estimated before each scoring. On the CPU equal seeds give equal scores.

    Args:
        model: Trained in place, on its own device, which must be the task's; left in eval mode with its last weights.
        task: Data, loss and metric.
        schedule: Length, rungs and learning rate.
        seed: Of the order of the images, their augmentation and any dropout.
        report: Called with what is known at each rung and at the end; returning False stops.
        progress: Called with the epochs done and the mean loss of the last one, after each.
        lock: Held shared while a batch trains or the model is scored.
        checkpoint: What the training goes on from, where it is one of this training, and writes as it goes.

    Raises:
        TrainingError: The loss is not a finite number; the message says at which epoch and step.
    """
    device = next(model.parameters()).device
    watch = _Stopwatch(device, lock)
    task.attach(model)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        _channels_last(model),
        _optimizer(model, schedule) as optimizer,
        replayed(model, schedule.epochs * _steps(task, schedule)),
    ):
        torch.manual_seed(seed)
        training = Training(model, optimizer, _identity(model, task, schedule, seed))
        return _train_rungs(training, task, schedule, seed, report, progress, watch, checkpoint)


def score_model(model: nn.Module, task: Task, calibration: int) -> Score:
    """Score a model as `train` does: BatchNorm statistics re-estimated, then the task's metric in eval mode.

    Args:
        model: On the task's device; its BatchNorm statistics change and it is left in eval mode.
        task: Data and metric.
        calibration: Training images to estimate the statistics on.
    """
    task.attach(model)
    with torch.no_grad(), autocast(next(model.parameters()).device):
        reestimate_batchnorm(model, task.calibration_images(calibration))
    return task.evaluate(model.eval())


def _identity(model: nn.Module, task: Task, schedule: Schedule, seed: int) -> str:
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    return repr((schedule, seed, task.imgsz, task.train_images, shapes))


def _train_rungs(
    training: Training,
    task: Task,
    schedule: Schedule,
    seed: int,
    report: Report | None,
    progress: Progress | None,
    watch: _Stopwatch,
    checkpoint: Checkpoint | None,
) -> TrainingResult:
    """Train epoch by epoch; give what is known at the last rung reached."""
    scored_after = {*schedule.rungs, schedule.epochs}
    done, watch.seconds = checkpoint.restore(training) if checkpoint else (0, 0.0)
    for epoch in range(done + 1, schedule.epochs + 1):
        if checkpoint is not None and epoch > done + 1:
            checkpoint.keep(training, epoch - 1, watch.seconds)
        loss = _train_epoch(training, task, schedule, epoch, seed, watch)
        if progress is not None:
            progress(epoch, loss)
        if epoch not in scored_after:
            continue
        with watch.running():
            score = score_model(training.model, task, schedule.calibration)
        known = TrainingResult(
            score, epoch, schedule.batch_size, watch.seconds, epoch < schedule.epochs
        )
        go_on = report is None or report(known)
        if epoch == schedule.epochs or not go_on:
            break
    return known


def _train_epoch(
    training: Training,
    task: Task,
    schedule: Schedule,
    epoch: int,
    seed: int,
    watch: _Stopwatch,
) -> float:
    """Train one epoch; give the mean loss of its steps."""
    training.model.train()
    total = 0.0
    steps = _steps(task, schedule)
    batches = task.train_batches(schedule.batch_size, seed * 10_007 + epoch)
    for step in range(steps):
        rate = schedule.lr_at((epoch - 1) * steps + step, schedule.epochs * steps)
        with watch.running():
            loss = _step(training, task, next(batches), rate)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} at epoch {epoch}, step {step + 1} of {steps}")
        total += loss
    return total / steps


def _steps(task: Task, schedule: Schedule) -> int:
    """Give the steps of an epoch."""
    return math.ceil(task.train_images / schedule.batch_size)


def _step(training: Training, task: Task, batch: Any, rate: float) -> float:
    """Take one optimizer step; give the loss. A loss that is not finite leaves the weights alone."""
    model, groups = training.model, training.optimizer.param_groups
    device = next(model.parameters()).device
    with autocast(device):
        loss = task.loss(model, batch)
    value = float(loss.detach())
    if math.isfinite(value):
        training.optimizer.zero_grad(set_to_none=False)  # the model's gradients are views of these
        loss.backward()  # type: ignore[no-untyped-call]
        vectors = [vector for group in groups for vector in group["params"]]
        nn.utils.clip_grad_norm_(vectors, MAX_GRADIENT_NORM)
        for group in groups:
            group["lr"] = rate
        training.optimizer.step()
    return value


@contextlib.contextmanager
def _optimizer(model: nn.Module, schedule: Schedule) -> Iterator[torch.optim.Optimizer]:
    """Make an AdamW that decays weights of convolutions and linear layers, not biases and BatchNorms."""
    trained: dict[tuple[torch.dtype, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            trained.setdefault((parameter.dtype, parameter.ndim > 1), []).append(parameter)
    with contextlib.ExitStack() as stack:
        groups: list[dict[str, Any]] = [
            {
                "params": [stack.enter_context(laid_flat(parameters))],
                "weight_decay": schedule.weight_decay if decays else 0.0,
            }
            for (_, decays), parameters in trained.items()
        ]
        yield torch.optim.AdamW(groups, lr=schedule.lr, fused=True)


@contextlib.contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """Lay weights out channels last, as convolutions on CPU and CUDA train fastest, and back after."""
    model.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        model.to(memory_format=torch.contiguous_format)
