"""`spnas logs`: what a trial is, and what its worker said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.runs import RunDirectory, TrialRecord


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "logs",
        help="print a trial's log",
        description=(
            "Prints what a trial of a run is, and what its worker said: counts, latency, losses, scores, and "
            "the traceback where it failed; then the same of its re-evaluations. A trial under way is printed so far."
        ),
        examples=("spnas logs results/my-run 12",),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )
    parser.add_argument("trial", type=int, metavar="TRIAL", help="the trial's number")


def run(args: argparse.Namespace) -> int:
    """Print the logs."""
    from spnas.errors import RunError
    from spnas.runs import RunDirectory, read_records

    directory = RunDirectory.open(args.run)
    records = read_records(directory.trials) if directory.trials.is_file() else []
    record = next((record for record in records if record.trial == args.trial), None)
    texts = _logs(directory, args.trial)
    if record is None and not texts:
        last = (
            f", the last one is {max(r.trial for r in records)}" if records else ", none has ended"
        )
        raise RunError(f"{args.run}: there is no trial {args.trial}{last}")
    print(f"trial {args.trial}: under way" if record is None else _describe(record))
    for name, text in texts:
        print(f"\n{name}")
        print(text.rstrip())
    if not texts:
        print(
            "\nno log: the run is of an earlier version of spnas, or the trial has said nothing yet"
        )
    return 0


def _logs(directory: RunDirectory, trial: int) -> list[tuple[str, str]]:
    """Give the names and texts of a trial's logs, its re-evaluations' last."""
    first = directory.trial_log(trial)
    again = sorted(directory.logs_dir.glob(f"{first.stem}-*{first.suffix}"))
    files = [path for path in (first, *again) if path.is_file()]
    return [
        (str(path.relative_to(directory.path)), path.read_text(encoding="utf-8", errors="replace"))
        for path in files
    ]


def _describe(record: TrialRecord) -> str:
    figures = [f"{name} {value:.4f}" for name, value in record.scores.items()]
    if record.latency_ms is not None:
        figures.append(f"latency {record.latency_ms:.2f} ms")
    if record.latency_ratio is not None:
        figures.append(f"{record.latency_ratio:.3f} of the base")
    if record.device_s is not None:
        figures.append(f"cost {record.device_s:.1f} device-seconds")
    sites: dict[str, list[str]] = {}
    for site, choice in record.architecture.items():
        sites.setdefault(str(choice), []).append(site)
    lines = [
        f"trial {record.trial}: {record.state}, {record.origin}, {record.architecture.id}",
        ", ".join(figures),
        record.latency_warning or "",
        record.error or "",
        *(f"{choice} at {', '.join(own)}" for choice, own in sorted(sites.items())),
    ]
    return "\n".join(line for line in lines if line)
