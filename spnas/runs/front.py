"""The Pareto front of a run, as records and as files: pareto.csv and one model yaml for each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from spnas.runs.directory import RunDirectory
from spnas.runs.files import write_text_atomic
from spnas.runs.model_yaml import model_text
from spnas.runs.pareto import hypervolume, pareto_indices
from spnas.runs.records import TrialRecord
from spnas.runs.table import FILE_COLUMN, SEEDS_COLUMN, trials_frame, write_table

_MEASURED = (
    *("latency_ms", "latency_std_ms", "latency_ratio", "latency_ratio_low", "latency_ratio_high"),
    *("latency_warning", "memory_mb"),
)
_COUNTED = ("seeds", "params", "macs")
_WORST_RATIO = 1.25
_PACKAGES = ("spnas", "torch", "torchvision", "ultralytics")


def front_records(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Pick the Pareto front of the complete trials: most accurate, fastest.

    Args:
        records: A run's trials. Stopped, failed and infeasible ones never are on a front: their figures are not
            those of the full proxy training.
        metric: The accuracy, `map50_95` or `top1`.

    Returns:
        Non-dominated trials sorted by latency, the fastest first; of equal ones the earliest in `records`.
    """
    complete = [record for record in records if record.state == "complete"]
    accuracy = [record.scores.get(metric) for record in complete]
    return [complete[i] for i in pareto_indices(accuracy, [r.latency_ms for r in complete])]


def front_hypervolume(records: Sequence[TrialRecord], metric: str) -> float:
    """Compute the area that a run's front dominates: accuracy times latency ratio, up to 1.25 times the base's."""
    front = front_records(records, metric)
    accuracy = [record.scores[metric] for record in front]
    return hypervolume(accuracy, [record.latency_ratio for record in front], (0.0, _WORST_RATIO))


def model_file(place: int, record: TrialRecord) -> str:
    """Name the model yaml of the front's record at a place (from 0, by latency), relative to the run directory."""
    return f"pareto/{place:02d}-{record.architecture.id}.yaml"


def write_front(
    run: RunDirectory,
    records: Sequence[TrialRecord],
    document: Callable[[TrialRecord], dict[str, Any]],
    *,
    metric: str,
    score_columns: Sequence[str],
    sites: Sequence[str],
    conditions: Mapping[str, Any],
) -> list[Path]:
    """Write pareto.csv and pareto/NN-<id>.yaml, numbered from 00 by latency, in place of the old ones.

    pareto.csv is written after the yamls it names and before old ones are removed, and is taken away first where a
    yaml of an old name gets a new content: killed anywhere, it names files of one front only.

    Args:
        run: Where to.
        records: All of a run's trials, or those that are confirmed; the front is picked here.
        document: Gives the model yaml of a trial less its metrics and provenance.
        metric: The accuracy of the front.
        score_columns: The task's figures, the metric first.
        sites: Names of the space's sites.
        conditions: What latency was measured with and on: device, runtime, batch, imgsz.

    Returns:
        The yamls.
    """
    front = front_records(records, metric)
    versions = _versions()
    texts = {
        run.path / model_file(place, record): model_text(
            document(record)
            | {"metrics": _metrics(record, score_columns, conditions)}
            | {"provenance": _provenance(record, run, versions)}
        )
        for place, record in enumerate(front)
    }
    run.pareto_dir.mkdir(exist_ok=True)
    changed = {path: text for path, text in texts.items() if _read(path) != text}
    if any(path.exists() for path in changed):
        run.pareto_csv.unlink(missing_ok=True)
    for path, text in changed.items():
        write_text_atomic(path, text)
    table = trials_frame(front, score_columns, sites)
    table[SEEDS_COLUMN] = [record.seeds for record in front]
    table[FILE_COLUMN] = [model_file(place, record) for place, record in enumerate(front)]
    write_table(run.pareto_csv, table)
    for stale in set(run.pareto_dir.glob("[0-9]*-*.yaml")) - set(texts):
        stale.unlink()
    return list(texts)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _metrics(
    record: TrialRecord, score_columns: Sequence[str], conditions: Mapping[str, Any]
) -> dict[str, Any]:
    figures = [name for column in score_columns for name in (column, f"{column}_std")]
    scores = {name: float(record.scores[name]) for name in figures if name in record.scores}
    measured = {name: getattr(record, name) for name in _MEASURED}
    counted = {name: getattr(record, name) for name in _COUNTED}
    known = {name: value for name, value in (measured | counted).items() if value is not None}
    return scores | known | dict(conditions)


def _provenance(
    record: TrialRecord, run: RunDirectory, versions: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "run": run.name,
        "trial": record.trial,
        "arch_id": record.architecture.id,
        "origin": record.origin,
        "epochs": record.epochs,
        "created": record.finished,
        "versions": dict(versions),
    }


def _versions() -> dict[str, str]:
    """Give the versions of spnas and of what builds its networks, without importing them; of installed ones only."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
