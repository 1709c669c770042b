"""What a trial does: an architecture in, its latency and accuracy out. Knows neither Ray nor Optuna.

Runs in the workers. An `Evaluator` is made once in each worker process, because importing, reading the data and
deploying the base take longer than a short trial.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from spnas.architecture import Architecture, Choice
from spnas.latency import LatencyTable, count, device_lock
from spnas.networks import apply_architecture, deploy_model, get_network, load_base_weights
from spnas.networks.deploy import set_forms
from spnas.search.bench import Bench, Measured
from spnas.search.limits import Limits
from spnas.tasks import Task, open_task
from spnas.training import Library, Schedule, TrainingResult, train_within_memory

logger = logging.getLogger("spnas")


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
        latency_device: The device of the worker that latency is measured on; None for the one that trains.
        base_latency_ms: The base's latency in this run; a trial's latency is its ratio times this.
        limits: What a candidate may cost; it is not trained where it costs more.
        library: A file of prepared operators to start from; None to inherit weights in closed form.
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
    latency_device: str | None = None
    base_latency_ms: float | None = None
    limits: Limits = field(default_factory=Limits)
    library: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What is known of an architecture at a rung or at the end.

    Attributes:
        epochs: Epochs trained.
        scores: The task's figures by column name, each in 0..1, and their spreads by that name with `_std`.
        latency_ms: The deployed form's latency, on the run's scale.
        latency_std_ms: Its spread.
        latency_ratio: The latency over the base's, measured interleaved.
        latency_ratio_low: Lower end of its 95% confidence interval.
        latency_ratio_high: Upper end.
        latency_warning: What disturbed that measurement, also when it was repeated; None where nothing did.
        params: Parameters of the training form.
        macs: Multiply-accumulates of the training form, counted by thop.
        forms: Site to deployed form, where that is not the operator's default.
        batch: Images of a training step: half of what was planned where the device's memory ran out.
        train_s: Wall seconds of training and validation.
        memory_mb: Peak memory of a forward of the deployed form, MB.
    """

    epochs: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    latency_std_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    latency_warning: str | None = None
    params: int | None = None
    macs: int | None = None
    forms: dict[str, str] = field(default_factory=dict)
    batch: int | None = None
    train_s: float | None = None
    memory_mb: float | None = None


class AnyBench(Protocol):
    """What latency is measured on: a `Bench` of this process, or a `RemoteBench`."""

    def measure(
        self, candidate: nn.Module, base: nn.Module, example: Tensor, limit: float = ...
    ) -> Measured:
        """Deploy a network and measure it beside the base's deployed form."""

    def table(
        self,
        base: nn.Module,
        choices: Mapping[str, Sequence[Choice]],
        example: Tensor,
        limit_s: float = ...,
    ) -> LatencyTable | None:
        """Measure every choice at every site of the base."""


class Evaluator:
    """Evaluates architectures on one device, against a trained base network.

    Args:
        settings: What every trial of the run shares.
        bench: What latency is measured on; None for the worker's own device.
    """

    def __init__(self, settings: TrialSettings, bench: AnyBench | None = None) -> None:
        torch.set_num_threads(settings.threads)
        self.settings = settings
        self.device = torch.device(settings.device)
        self.task: Task = open_task(
            settings.kind, settings.data, imgsz=settings.imgsz, device=self.device
        )
        self.base = get_network(settings.network).build(settings.num_classes)
        load_base_weights(self.base, settings.weights)
        self.task.attach(self.base)
        self._library = Library.load(settings.library) if settings.library else Library({})
        self._deployed_base = deploy_model(self.base)
        self._example = self.task.example(settings.latency_batch)
        self._lock = device_lock(self.device)
        self._bench = bench or own_bench(settings)

    def assemble(self, architecture: Architecture, seed: int | None = None) -> nn.Module:
        """Build the architecture on the CPU, its operators as prepared in the library, else with the base's weights."""
        torch.manual_seed(self.settings.seed if seed is None else seed)
        model = apply_architecture(copy.deepcopy(self.base), architecture)
        self._library.load_into(model, architecture)
        self.task.attach(model)
        return model

    def count(self, model: nn.Module) -> Evaluation:
        """Count the model's parameters and MACs."""
        counts = count(model, self.settings.imgsz)
        logger.info("%d parameters, %d MACs", counts.params, counts.macs)
        return Evaluation(params=counts.params, macs=counts.macs)

    def measure(self, model: nn.Module, known: Evaluation, *, is_base: bool = False) -> Evaluation:
        """Measure latency (beside the base's) and memory of the model's deployed form; add them to what is known.

        Sets the model's operators, in place, to the deployed forms that are fastest.
        The base's own ratio is 1, not what two measurements of it differ by; its spread is measured.
        """
        limit = math.inf if is_base else self.settings.limits.latency_ratio
        found = self._bench.measure(model, self._deployed_base, self._example, limit)
        set_forms(model, found.forms)
        result = found.latency
        scale = self.settings.base_latency_ms or result.base_latency_ms
        ratio = 1.0 if is_base else result.ratio
        logger.info("latency %.3f ms, %.3f of the base", ratio * scale, ratio)
        if result.warning:
            logger.warning("latency: %s", result.warning)
        return replace(
            known,
            latency_ms=ratio * scale,
            latency_std_ms=result.ratio_std * scale,
            latency_ratio=ratio,
            latency_ratio_low=ratio * result.ratio_low / result.ratio,
            latency_ratio_high=ratio * result.ratio_high / result.ratio,
            latency_warning=result.warning,
            forms=found.forms,
            memory_mb=found.memory_mb,
        )

    def evaluate(
        self, architecture: Architecture, report: Callable[[Evaluation], bool]
    ) -> Evaluation:
        """Count and measure an architecture and train it rung by rung; end as soon as it costs more than allowed.

        The base network is measured and trained whatever it costs: the others are compared with it.

        Args:
            architecture: What to evaluate.
            report: Called at every rung but the last; returning False stops the training there.

        Returns:
            What is known at the end; without scores where it was not trained.

        Raises:
            TrainingError: The training diverged.
            torch.OutOfMemoryError: Not even half the batch fits into the device's memory.
        """
        model = self.assemble(architecture)
        limits = Limits() if architecture.is_base else self.settings.limits
        known = self.count(model)
        if limits.exceeded(known):
            return known
        known = self.measure(model, known, is_base=architecture.is_base)
        if limits.exceeded(known):
            return known
        return self._train(model, architecture, known, self.settings.seed, report)

    def confirm(self, architecture: Architecture, seed: int, *, latency: bool) -> Evaluation:
        """Evaluate an architecture once more, whatever it costs.

        Args:
            architecture: What to evaluate.
            seed: Of the training, in place of that of the settings.
            latency: Whether to measure its latency too.

        Raises:
            TrainingError: The training diverged.
            torch.OutOfMemoryError: Not even half the batch fits into the device's memory.
        """
        model = self.assemble(architecture, seed)
        known = self.count(model)
        if latency:
            known = self.measure(model, known, is_base=architecture.is_base)
        return self._train(model, architecture, known, seed, lambda _evaluation: True)

    def _train(
        self,
        model: nn.Module,
        architecture: Architecture,
        known: Evaluation,
        seed: int,
        report: Callable[[Evaluation], bool],
    ) -> Evaluation:
        """Train rung by rung and add what comes of it to what is known."""
        schedule = self.settings.schedule

        def evaluation(result: TrainingResult) -> Evaluation:
            return replace(
                known,
                epochs=result.epochs,
                scores=result.score.columns,
                batch=result.batch_size,
                train_s=result.train_s,
            )

        def at_rung(result: TrainingResult) -> bool:
            scores = ", ".join(
                f"{name} {value:.4f}" for name, value in result.score.columns.items()
            )
            logger.info("epoch %d: %s, %.1f s", result.epochs, scores, result.train_s)
            return result.epochs >= schedule.epochs or report(evaluation(result))

        def tell(epoch: int, loss: float) -> None:
            logger.info("epoch %d of %d: loss %.4f", epoch, schedule.epochs, loss)

        _, found = train_within_memory(
            model.to(self.device),
            lambda: self.assemble(architecture, seed),
            self.task,
            schedule,
            seed=seed,
            report=at_rung,
            progress=tell,
            lock=self._lock,
        )
        return evaluation(found)


def own_bench(settings: TrialSettings) -> Bench:
    """Give what latency is measured on where it is a device of this process."""
    return Bench(settings.latency_device or settings.device, settings.runtime)
