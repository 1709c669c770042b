"""`spnas pareto`: a run's Pareto front beside the base network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from spnas.runs import FrontRow, RunDirectory, TrialRecord
    from spnas.search.differences import Difference

_REAL = {
    (True, True): "both",
    (True, False): "latency",
    (False, True): "accuracy",
    (False, False): "neither",
}
_STATES = ("complete", "stopped", "failed", "infeasible")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "pareto",
        help="print a run's Pareto front beside the base network",
        description=(
            "Prints the Pareto front of a run, computed from its trials.csv and confirmed.csv: latency of the deployed "
            "form, its ratio to the base network's, accuracy, its difference to the base network's, parameters and "
            "MACs; of a confirmed front also which differences are more than noise."
        ),
        examples=("spnas pareto results/my-run",),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the front."""
    from spnas.runs import RunDirectory

    show_front(RunDirectory.open(args.run), form="json" if args.json else "table")
    return 0


def show_front(directory: RunDirectory, form: Literal["table", "json", "line"] = "table") -> bool:
    """Print a run's front beside its base network, JSON on a single line as an event; say whether there is one."""
    from spnas.runs import front_rows, read_records, read_trials, table_columns
    from spnas.search.confirmation import confirmed_records, describe
    from spnas.search.differences import differences

    metric = table_columns(read_trials(directory.trials)).metric
    trials = read_records(directory.trials)
    again = read_records(directory.confirmed) if directory.confirmed.is_file() else []
    confirmed = confirmed_records(trials, again, metric)
    rows = front_rows(confirmed or trials, metric)
    found = differences(confirmed, again, metric)
    if form != "table":
        content = _content(directory, metric, trials, rows)
        content |= {"confirmed": bool(confirmed), "differences": [d.to_dict() for d in found]}
        line = json.dumps({"event": "front", **content})
        print(line if form == "line" else json.dumps(content, indent=2))
    else:
        _print(directory, metric, trials, rows)
        if any(row.file is not None for row in rows):
            _print_confirmation(describe(trials, again, metric), found, rows, metric)
    return any(row.file is not None for row in rows)


def _why_no_front(records: list[TrialRecord]) -> str:
    infeasible = [r for r in records if r.state == "infeasible" and not r.architecture.is_base]
    if not infeasible:
        return "no Pareto front yet: no trial is complete"
    return (
        f"no Pareto front: no trial is complete, {len(infeasible)} exceeded the run's limits, the last one: "
        f"{infeasible[-1].error}"
    )


def _states(records: list[TrialRecord]) -> dict[str, int]:
    return {state: sum(record.state == state for record in records) for state in _STATES}


def _content(
    directory: RunDirectory, metric: str, records: list[TrialRecord], rows: list[FrontRow]
) -> dict[str, Any]:
    base = next((row.to_dict() for row in rows if row.is_base), None)
    return {
        "run": str(directory.path),
        "metric": metric,
        "trials": _states(records),
        "base": base,
        "front": [row.to_dict() for row in rows if row.file is not None],
    }


def _print(
    directory: RunDirectory, metric: str, records: list[TrialRecord], rows: list[FrontRow]
) -> None:
    from rich.console import Console

    from spnas.runs import front_table

    console = Console(highlight=False, markup=False, soft_wrap=False)
    states = [f"{count} {state}" for state, count in _states(records).items() if count]
    console.print(f"{directory.path} - trials: {', '.join(states) or 'none yet'}", soft_wrap=True)
    front = [row for row in rows if row.file is not None]
    if not front:
        console.print(_why_no_front(records), soft_wrap=True)
        return
    console.print()
    console.print(front_table(rows, metric))
    if measured := _measured(directory):
        console.print(measured, soft_wrap=True)
    missing = [row for row in front if not (directory.path / str(row.file)).is_file()]
    if missing:
        console.print()
        console.print(
            f"{len(missing)} of these model files are not written yet: a search writes them when it ends"
        )


def _measured(directory: RunDirectory) -> str | None:
    """Say what the latencies are those of; None where the run does not tell."""
    from spnas.search.config import read_config

    if not directory.config.is_file():
        return None
    resolved = read_config(directory.config)[1]
    batch, runtime = resolved.get("latency_batch"), resolved.get("runtime")
    if batch is None:
        return None
    images = f"{batch} images at a time" if batch > 1 else "one image"
    where = f" on {resolved['latency_on']}" if "latency_on" in resolved else ""
    return f"latency: of {images}{f' in {runtime}' if runtime else ''}{where}"


def _print_confirmation(
    told: str, differences: list[Difference], rows: list[FrontRow], metric: str
) -> None:
    """Tell what the front was confirmed by, and which differences are more than noise."""
    from rich.console import Console
    from rich.table import Table

    from spnas.runs.summary import METRIC_TITLES

    console = Console(highlight=False, markup=False)
    console.print()
    console.print(told, soft_wrap=True)
    if not differences:
        return
    names = {row.trial: (row.file or "base network").removeprefix("pareto/") for row in rows}
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("model", "against"):
        table.add_column(name, no_wrap=True)
    for name in ("ratio", METRIC_TITLES.get(metric, metric), "more than noise"):
        table.add_column(name, no_wrap=True)
    for found in differences:
        table.add_row(
            names[found.trial],
            "base" if found.to_base else names[found.other].partition("-")[0],
            _difference(found.latency_ratio, found.latency_noise, ".3f"),
            _difference(found.accuracy, found.accuracy_noise, ".4f"),
            _REAL[found.latency_is_real, found.accuracy_is_real],
        )
    console.print()
    console.print(table)


def _difference(value: float, noise: float | None, form: str) -> str:
    """Give a difference with what chance alone would make of it, 95 times in 100."""
    return f"{value:+{form}} ({'?' if noise is None else f'{noise:{form}}'})"
