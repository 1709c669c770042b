"""Several runs beside each other: one latency scale, one reference point, the hypervolume of each front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from spnas.errors import RunError
from spnas.runs import (
    RunDirectory,
    TrialRecord,
    front_records,
    hypervolume,
    read_records,
    read_trials,
    table_columns,
)
from spnas.runs.summary import find_base
from spnas.search.config import read_config
from spnas.search.confirmation import confirmed_records

# How far behind the slowest model the reference point lies, so that this one counts too.
_MARGIN = 1.1

# Of a run's resolved options: what makes accuracies incomparable, and what makes figures differ a little or a lot.
_TASK = ("task", "num_classes")
_CONDITIONS = ("imgsz", "epochs", "runtime", "latency_on", "latency_batch")


@dataclass(frozen=True)
class ComparedRun:
    """A run's front as it is compared.

    Attributes:
        name: The run's folder as it was given.
        metric: The accuracy it maximizes.
        front: The front's trials, the fastest first; with what the re-evaluations say where it is confirmed.
        base: The base network's trial; None before there is one.
        complete: Complete trials.
        confirmed: Whether the front is confirmed.
        resolved: What the search's options came to; nothing where the folder holds tables only.
        data: The data set as its config names it.
    """

    name: str
    metric: str
    front: list[TrialRecord]
    base: TrialRecord | None
    complete: int
    confirmed: bool
    resolved: dict[str, Any]
    data: str | None


@dataclass(frozen=True)
class Comparison:
    """Runs on one latency scale.

    Attributes:
        runs: The runs, in the order given.
        metric: The accuracy of all of them.
        unit: `ratio` to the base network, where all have the same one, else `ms`.
        reference: Accuracy and latency of the reference point.
        hypervolumes: The area that each front dominates down to the reference point, accuracy times `unit`.
        warnings: What differs between the runs beside the search itself.
    """

    runs: list[ComparedRun]
    metric: str
    unit: str
    reference: tuple[float, float]
    hypervolumes: list[float]
    warnings: list[str]

    def latency(self, record: TrialRecord) -> float | None:
        """Give a trial's latency on the common scale."""
        return _latency(self.unit)(record)


def compare_runs(
    paths: Sequence[str | PathLike[str]], reference: tuple[float, float] | None = None
) -> Comparison:
    """Put the fronts of several runs beside each other.

    Args:
        paths: Run directories.
        reference: Accuracy and latency of the reference point; None for accuracy 0 and a tenth more than the latency
            of the slowest model or base network.

    Raises:
        RunError: A folder is no run, the runs are for different tasks, or no figure is known yet.
    """
    runs = [_read(Path(path)) for path in paths]
    _check_task(runs)
    bases = {run.resolved.get("base", "") for run in runs}
    unit = "ratio" if len(bases) == 1 else "ms"
    latency = _latency(unit)
    if reference is None:
        shown = [
            record for run in runs for record in (*run.front, *([run.base] if run.base else []))
        ]
        known = [late for record in shown if (late := latency(record)) is not None]
        if not known:
            raise RunError("no run has a complete trial yet, there is nothing to compare")
        reference = (0.0, _MARGIN * max(known))
    metric = runs[0].metric
    volumes = [
        hypervolume(
            [record.scores.get(metric) for record in run.front],
            [latency(record) for record in run.front],
            reference,
        )
        for run in runs
    ]
    return Comparison(runs, metric, unit, reference, volumes, _differences(runs))


def _latency(unit: str) -> Callable[[TrialRecord], float | None]:
    return lambda record: record.latency_ratio if unit == "ratio" else record.latency_ms


def _read(path: Path) -> ComparedRun:
    """Read a run's tables and options."""
    run = RunDirectory.open(path)
    if not run.trials.is_file():
        raise RunError(f"{path}: no trial has ended yet, there is nothing to compare")
    metric = table_columns(read_trials(run.trials)).metric
    trials = read_records(run.trials)
    again = read_records(run.confirmed) if run.confirmed.is_file() else []
    confirmed = confirmed_records(trials, again, metric)
    config, resolved = read_config(run.config) if run.config.is_file() else (None, {})
    return ComparedRun(
        name=str(path),
        metric=metric,
        front=front_records(confirmed or trials, metric),
        base=find_base(confirmed or trials),
        complete=sum(record.state == "complete" for record in trials),
        confirmed=bool(confirmed),
        resolved=resolved,
        data=config.data if config else None,
    )


def _check_task(runs: Sequence[ComparedRun]) -> None:
    """Refuse runs whose accuracies say different things."""
    first = runs[0]
    problems = []
    for run in runs[1:]:
        facts: list[tuple[str, Any, Any]] = [("metric", first.metric, run.metric)]
        facts += [(key, first.resolved.get(key), run.resolved.get(key)) for key in _TASK]
        told = [f"{key} {own!r} and {other!r}" for key, own, other in facts if own != other]
        if told:
            problems.append(
                f"{first.name} and {run.name} are not comparable: {', '.join(told)}; expected one task"
            )
    if problems:
        raise RunError(problems)


def _differences(runs: Sequence[ComparedRun]) -> list[str]:
    """Tell of conditions that differ: figures of such runs are to be compared with care."""
    seen: dict[str, list[Any]] = {key: [r.resolved.get(key) for r in runs] for key in _CONDITIONS}
    seen["data"] = [run.data or "the embedded set" for run in runs]
    seen["confirmed front"] = ["yes" if run.confirmed else "no" for run in runs]
    return [
        f"{key} differs: {', '.join(str(value) for value in dict.fromkeys(values))}"
        for key, values in seen.items()
        if len(set(map(str, values))) > 1
    ]
