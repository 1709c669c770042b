"""What a trial does: an architecture in, its latency and accuracy out. Knows neither Ray nor Optuna.

Runs in the workers. An `Evaluator` is made once in each worker process, because importing, reading the data and
deploying the base take longer than a short trial.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spnas.architecture import Architecture
from spnas.latency import count, device_lock, measure
from spnas.networks import OperatorLibrary, deploy_model, get_network, load_base_weights
from spnas.tasks import Task, open_task
from spnas.training import Schedule, TrainingResult, train


@dataclass(frozen=True)
class TrialSettings:
    """What every trial of a run shares; plain values, so that it travels to any worker.

    Attributes:
        network: Name of the base network.
        kind: Kind of the task, `detect` or `classify`.
        data: The data set; None for the embedded one.
        num_classes: Its classes.
        imgsz: Image size, pixels.
        device: Where to train and to measure.
        threads: torch threads of the training.
        seed: The same for every trial, so that trials differ by their architecture alone.
        weights: The trained base's weights, a file of tensors.
        schedule: The proxy training.
        latency_batch: Images in a forward that latency is measured with.
        runtime: What latency is measured in.
        max_latency_ratio: Latency over the base's above which a candidate is not trained.
        base_latency_ms: The base's latency in this run; a trial's latency is its ratio times this.
    """

    network: str
    kind: str
    data: str | None
    num_classes: int
    imgsz: int
    device: str
    threads: int
    seed: int
    weights: str
    schedule: Schedule
    latency_batch: int = 1
    runtime: str | None = None
    max_latency_ratio: float = math.inf
    base_latency_ms: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is known of an architecture at a rung or at the end.

    Attributes:
        epochs: Epochs trained.
        scores: The task's figures by column name, each in 0..1, and their spreads by that name with `_std`.
        latency_ms: The deployed form's latency, on the run's scale.
        latency_std_ms: Its spread.
        latency_ratio: The latency over the base's, measured interleaved.
        params: Parameters of the training form.
        macs: Multiply-accumulates of the training form, counted by thop.
        train_s: Wall seconds of training and validation.
        memory_mb: Peak device memory, MB.
    """

    epochs: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    latency_std_ms: float | None = None
    latency_ratio: float | None = None
    params: int | None = None
    macs: int | None = None
    train_s: float | None = None
    memory_mb: float | None = None


class Evaluator:
    """Evaluates architectures on one device, against a trained base network.

    Args:
        settings: What every trial of the run shares.
    """

    def __init__(self, settings: TrialSettings) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.device = torch.device(settings.device)
        self.task: Task = open_task(
            settings.kind, settings.data, imgsz=settings.imgsz, device=self.device
        )
        self.base = get_network(settings.network).build(settings.num_classes)
        load_base_weights(self.base, settings.weights)
        self.task.attach(self.base)
        calibration = settings.schedule.calibration
        self._library = OperatorLibrary(
            self.base, lambda: self.task.calibration_images(calibration)
        )
        self._deployed_base = deploy_model(self.base)
        self._example = self.task.example(settings.latency_batch)
        self._lock = device_lock(self.device)

    def assemble(self, architecture: Architecture) -> nn.Module:
        """Build the architecture with its operators fitted to the base's convolutions, on the CPU."""
        model = self._library.assemble(architecture)
        self.task.attach(model)
        return model

    def measure(self, model: nn.Module, *, is_base: bool = False) -> Evaluation:
        """Count the model's parameters and MACs and measure its deployed form's latency beside the base's.

        The base's own ratio is 1, not what two measurements of it differ by; its spread is measured.
        """
        counts = count(model, self.settings.imgsz)
        deployed = deploy_model(model)
        result = measure(
            deployed,
            self._deployed_base,
            self._example,
            device=self.device,
            runtime=self.settings.runtime,
            limit=self.settings.max_latency_ratio,
            exclusive=self._lock.exclusive,
        )
        scale = self.settings.base_latency_ms or result.base_latency_ms
        ratio = 1.0 if is_base else result.ratio
        return Evaluation(
            latency_ms=ratio * scale,
            latency_std_ms=result.ratio_std * scale,
            latency_ratio=ratio,
            params=counts.params,
            macs=counts.macs,
        )

    def evaluate(
        self, architecture: Architecture, report: Callable[[Evaluation], bool]
    ) -> Evaluation:
        """Measure an architecture and train it rung by rung, unless it is slower than allowed.

        Args:
            architecture: What to evaluate.
            report: Called at every rung but the last; returning False stops the training there.

        Returns:
            What is known at the end; without scores where it was not trained.

        Raises:
            TrainingError: The training diverged.
        """
        model = self.assemble(architecture)
        known = self.measure(model, is_base=architecture.is_base)
        if (
            known.latency_ratio is not None
            and known.latency_ratio > self.settings.max_latency_ratio
        ):
            return known
        model.to(self.device)
        schedule = self.settings.schedule

        def evaluation(result: TrainingResult) -> Evaluation:
            return replace(
                known,
                epochs=result.epochs,
                scores=result.score.columns,
                train_s=result.train_s,
                memory_mb=result.memory_mb,
            )

        def at_rung(result: TrainingResult) -> bool:
            return result.epochs >= schedule.epochs or report(evaluation(result))

        seed = self.settings.seed
        return evaluation(
            train(model, self.task, schedule, seed=seed, report=at_rung, lock=self._lock)
        )


def train_base(
    settings: TrialSettings,
    schedule: Schedule,
    weights: str | None,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train the base network, or take the user's weights; write them where the trials read them.

    Args:
        settings: What every trial shares; the weights are written to `settings.weights`.
        schedule: The base's training.
        weights: The user's weights of the trained base; None to train from scratch.
        progress: Called with the epochs done and the mean loss of the last one, after each.

    Returns:
        `scores` (None with the user's weights), `train_s`, and of the base's deployed form `latency_ms` and
        `latency_std_ms`.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    task = open_task(settings.kind, settings.data, imgsz=settings.imgsz, device=device)
    model = get_network(settings.network).build(settings.num_classes).to(device)
    task.attach(model)
    facts: dict[str, Any] = {"scores": None, "train_s": 0.0}
    if weights is None:
        result = train(model, task, schedule, seed=settings.seed, progress=progress)
        facts = {"scores": result.score.values, "train_s": result.train_s}
    else:
        load_base_weights(model, weights)
    model.cpu()
    save_weights(model, Path(settings.weights))
    deployed = deploy_model(model)
    measured = measure(
        deployed,
        deployed,
        task.example(settings.latency_batch),
        device=device,
        runtime=settings.runtime,
        exclusive=device_lock(device).exclusive,
    )
    return facts | {
        "latency_ms": measured.base_latency_ms,
        "latency_std_ms": measured.base_latency_std_ms,
    }


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's tensors, atomically."""
    partial = path.with_suffix(".partial")
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, partial)
    os.replace(partial, path)
