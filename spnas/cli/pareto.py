"""`spnas pareto`: a run's Pareto front beside the base network."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.runs import FrontRow, RunDirectory, TrialRecord

_STATES = ("complete", "stopped", "failed", "infeasible")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "pareto",
        help="print a run's Pareto front beside the base network",
        description=(
            "Prints the Pareto front of a run, computed from its trials.csv: latency of the deployed form, its ratio "
            "to the base network's, accuracy, its difference to the base network's, parameters and MACs."
        ),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the front."""
    from spnas.runs import RunDirectory

    show_front(RunDirectory.open(args.run), as_json=args.json)
    return 0


def show_front(directory: RunDirectory, *, as_json: bool = False) -> bool:
    """Print a run's front beside its base network; say whether there is one."""
    from spnas.runs import front_rows, read_records, read_trials, table_columns

    metric = table_columns(read_trials(directory.trials)).metric
    records = read_records(directory.trials)
    rows = front_rows(records, metric)
    if as_json:
        print(json.dumps(_content(directory, metric, records, rows), indent=2))
    else:
        _print(directory, metric, records, rows)
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
    missing = [row for row in front if not (directory.path / str(row.file)).is_file()]
    if missing:
        console.print()
        console.print(
            f"{len(missing)} of these model files are not written yet: a search writes them when it ends"
        )
