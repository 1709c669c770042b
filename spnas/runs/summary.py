"""A run's front beside its base network, as figures and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from spnas.runs.front import front_records, model_file
from spnas.runs.records import TrialRecord

METRIC_TITLES = {"map50_95": "mAP50-95", "map50": "mAP50", "top1": "top-1"}


@dataclass(frozen=True)
class FrontRow:
    """A model of the front, or the base network, with its differences to the base network.

    Attributes:
        file: Its model yaml, relative to the run directory; None for the base network where it is not on the front.
        trial: Its trial's number.
        is_base: Whether it is the base network.
        accuracy: The metric, in 0..1.
        accuracy_difference: The metric less the base's; None where the base has none.
        latency_ms: Latency of the deployed form, ms.
        latency_ratio: That latency over the base's.
        params: Parameters of the training form.
        macs: Multiply-accumulates of the training form.
    """

    file: str | None
    trial: int
    is_base: bool
    accuracy: float | None
    accuracy_difference: float | None
    latency_ms: float | None
    latency_ratio: float | None
    params: int | None
    macs: int | None

    def to_dict(self) -> dict[str, Any]:
        """Give the row as plain values."""
        return asdict(self)


def find_base(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Give the base network's trial: the one that is complete, if there is one."""
    bases = [record for record in records if record.architecture.is_base]
    complete = [record for record in bases if record.state == "complete"]
    return next(iter(complete or bases), None)


def with_epochs(name: str, records: Sequence[TrialRecord]) -> str:
    """Name a group of trials with the epochs that their accuracies come from: re-evaluations have more than trials."""
    longest = max((record.epochs for record in records), default=0)
    return f"{name} ({longest:g} epoch{'' if longest == 1 else 's'})"


def front_rows(records: Sequence[TrialRecord], metric: str) -> list[FrontRow]:
    """Compare each model of the front with the base network.

    Args:
        records: A run's trials.
        metric: The accuracy of the front.

    Returns:
        The front sorted by latency; the base network is among it, at its place by latency, on the front or not.
    """
    base = find_base(records)
    reference = base.scores.get(metric) if base else None
    rows = [
        _row(record, model_file(place, record), metric, reference)
        for place, record in enumerate(front_records(records, metric))
    ]
    if base is not None and not any(row.is_base for row in rows):
        rows.append(_row(base, None, metric, reference))
    return sorted(rows, key=lambda row: float("inf") if row.latency_ms is None else row.latency_ms)


def _row(record: TrialRecord, file: str | None, metric: str, reference: float | None) -> FrontRow:
    accuracy = record.scores.get(metric)
    difference = None if accuracy is None or reference is None else accuracy - reference
    return FrontRow(
        file=file,
        trial=record.trial,
        is_base=record.architecture.is_base,
        accuracy=accuracy,
        accuracy_difference=difference,
        latency_ms=record.latency_ms,
        latency_ratio=record.latency_ratio,
        params=record.params,
        macs=record.macs,
    )


def front_table(rows: Sequence[FrontRow], metric: str) -> Table:
    """Draw the rows as a table that fits 80 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("model", no_wrap=True)
    names = ("latency ms", "ratio", METRIC_TITLES.get(metric, metric), "diff", "params", "MACs")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.file or "base network",
            _figure(row.latency_ms, ".2f"),
            _figure(row.latency_ratio, ".3f"),
            _figure(row.accuracy, ".4f"),
            "base" if row.is_base else _figure(row.accuracy_difference, "+.4f"),
            count_text(row.params),
            count_text(row.macs),
            style="bold" if row.is_base else "",
        )
    return table


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def count_text(value: int | None) -> str:
    """Shorten a count to thousands (k), millions (M) or billions (G)."""
    if value is None:
        return "-"
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.2f}{unit}"
    return str(value)
