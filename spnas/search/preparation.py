"""What a worker finds out of the base network before any trial: its weights, the latency table, scores, operators.

Knows neither Ray nor Optuna.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spnas.architecture import Choice
from spnas.latency import LatencyTable, count
from spnas.networks import deploy_model, get_network, load_base_weights
from spnas.runs import atomic_file
from spnas.search.objective import AnyBench, TrialSettings, own_bench
from spnas.tasks import Task, open_task
from spnas.training import (
    Checkpoint,
    Library,
    Schedule,
    Scores,
    build_library,
    choice_scores,
    step_seconds,
    train_within_memory,
)

logger = logging.getLogger("spnas")


def train_base(
    settings: TrialSettings,
    schedule: Schedule | None,
    weights: str | None,
    progress: Callable[[int, float], None] | None = None,
    bench: AnyBench | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train the base network, from the user's weights if there are any, or take these; write what trials read.

    A training that was interrupted goes on from what it has left beside them.

    Args:
        settings: What every trial shares; the weights are written to `settings.weights`.
        schedule: The base's training; None for the user's weights as they are.
        weights: The user's weights; None to train from scratch.
        progress: Called with the epochs done and the mean loss of the last one, after each.
        bench: What latency is measured on; None for the worker's own device.
        threads: torch threads of the base's training; None for a trial's, those of the settings.

    Returns:
        `scores` and `batch` (None without a training), `train_s`, `trial_train_s` (what a trial's training on its
        threads will take; None where nothing tells), `params`, `macs`, of the base's deployed form `latency_ms`,
        `latency_std_ms` and `latency_warning`, and the `device` and `runtime` that it was measured with.
    """
    torch.set_num_threads(threads or settings.threads)
    device = torch.device(settings.device)
    task = open_task(settings.kind, settings.data, imgsz=settings.imgsz, device=device)
    build = functools.partial(_build_base, settings, task, weights)
    path = Path(settings.weights)
    checkpoint = Checkpoint(path.with_suffix(".checkpoint"))
    model = build().to(device)
    facts: dict[str, Any] = {"scores": None, "batch": None, "train_s": 0.0}
    alike_s = 0.0
    if schedule is not None:
        options = {"seed": settings.seed, "progress": progress, "checkpoint": checkpoint}
        model, result = train_within_memory(model, build, task, schedule, **options)
        facts = {"scores": result.score.values, "batch": result.batch_size}
        facts["train_s"] = result.train_s
        alike_s = result.train_s / schedule.epochs * settings.schedule.epochs
    save_weights(model.cpu(), path)
    checkpoint.remove()
    facts["trial_train_s"] = alike_s or None
    if device.type == "cpu" and threads not in (None, settings.threads):  # fewer take no less
        facts["trial_train_s"] = max(alike_s, _trial_train_s(model, settings, task)) or None
    return facts | _cost(model, settings, task, bench)


def _build_base(settings: TrialSettings, task: Task, weights: str | None) -> nn.Module:
    """Build the base network as its training begins, on the CPU."""
    torch.manual_seed(settings.seed)
    model = get_network(settings.network).build(settings.num_classes)
    task.attach(model)
    if weights is not None:
        load_base_weights(model, weights)
    return model


def _trial_train_s(model: nn.Module, settings: TrialSettings, task: Task) -> float:
    """Time a trial's steps on its threads: how much slower they are than more of them nobody can tell beforehand.

    An estimate: where it cannot be made, nothing is known, and the trials will tell.
    """
    torch.set_num_threads(settings.threads)
    schedule = settings.schedule
    steps = schedule.epochs * math.ceil(task.train_images / schedule.batch_size)
    try:
        return steps * step_seconds(copy.deepcopy(model), task, schedule.batch_size)
    except Exception as error:  # the base network is trained and written: no reason to lose it
        logger.warning("the length of a trial is not known: %s: %s", type(error).__name__, error)
        return 0.0


def _cost(
    model: nn.Module, settings: TrialSettings, task: Task, bench: AnyBench | None
) -> dict[str, Any]:
    """Count and measure the base network, its latency in its deployed form."""
    deployed = deploy_model(model)
    example = task.example(settings.latency_batch)
    measured = (bench or own_bench(settings)).measure(model, deployed, example).latency
    return {
        **asdict(count(model, settings.imgsz)),
        "latency_ms": measured.base_latency_ms,
        "latency_std_ms": measured.base_latency_std_ms,
        "latency_warning": measured.warning,
        "device": measured.device,
        "runtime": measured.runtime,
    }


def measure_table(
    settings: TrialSettings,
    choices: Mapping[str, Sequence[Choice]],
    limit_s: float,
    bench: AnyBench | None = None,
) -> LatencyTable | None:
    """Measure what each choice takes at each site, with what the trials are measured with.

    Args:
        settings: What every trial shares.
        choices: The choices of each site, by the site's name.
        limit_s: Seconds after which it is given up.
        bench: What latency is measured on; None for the worker's own device.

    Returns:
        None where it was given up.
    """
    base = get_network(settings.network).build(settings.num_classes).eval()
    generator = torch.Generator().manual_seed(settings.seed)
    example = torch.rand(
        (settings.latency_batch, 3, settings.imgsz, settings.imgsz), generator=generator
    )
    return (bench or own_bench(settings)).table(base, choices, example, limit_s)


def score_choices(settings: TrialSettings, choices: Mapping[str, Sequence[Choice]]) -> Scores:
    """Score each choice at each site, as trials start with it, by how much it changes the loss; see `choice_scores`.

    Args:
        settings: What every trial shares.
        choices: The choices of each site, by the site's name.
    """
    task, base = _open_base(settings)
    library = Library.load(settings.library) if settings.library else None
    return choice_scores(
        base, choices, task, imgsz=settings.imgsz, seed=settings.seed, library=library
    )


def prepare_operators(
    settings: TrialSettings,
    choices: Mapping[str, Sequence[Choice]],
    passes: int,
    path: Path,
    limit_s: float,
) -> bool:
    """Prepare each choice at each site to do what the base's convolution does; see `build_library`.

    Args:
        settings: What every trial shares.
        choices: The choices of each site, by the site's name.
        passes: Times that all training images are shown; 0 only fits.
        path: Where the library is written.
        limit_s: Seconds that it may take.

    Returns:
        Whether it was written; not where it takes longer.
    """
    task, base = _open_base(settings)
    library = build_library(base, choices, task, seed=settings.seed, passes=passes, limit_s=limit_s)
    if library is None:
        return False
    library.save(path)
    return True


def _open_base(settings: TrialSettings) -> tuple[Task, nn.Module]:
    """Open the task and load the trained base network, on the device that trains."""
    torch.set_num_threads(settings.threads)
    device = torch.device(settings.device)
    task = open_task(settings.kind, settings.data, imgsz=settings.imgsz, device=device)
    base = get_network(settings.network).build(settings.num_classes)
    load_base_weights(base, settings.weights)
    task.attach(base)
    return task, base.to(device)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's tensors, atomically."""
    # Cloned, since a view would bring all the storage it is a part of.
    tensors = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
    with atomic_file(path) as file:
        torch.save(tensors, file)
