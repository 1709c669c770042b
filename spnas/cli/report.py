"""`spnas report`: a run as one page for a browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "report",
        help="write a run's report.html",
        description=(
            "Writes a run as one page for a browser: front, choices, progress, learning curves, cost, environment. The "
            "file needs no other and no network. A search writes it when it ends; this does at any time."
        ),
        examples=("spnas report results/my-run",),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to; default: report.html in the run"
    )


def run(args: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from spnas.errors import RunError
    from spnas.runs import RunDirectory
    from spnas.search.report import report_run

    try:
        print(report_run(RunDirectory.open(args.run), args.output))
    except OSError as error:
        raise RunError(f"the report cannot be written: {error}") from None
    return 0
