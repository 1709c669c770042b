"""`spnas compare`: the fronts of several runs beside each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.finish import ComparedRun, Comparison


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "compare",
        help="compare the fronts of several runs",
        usage="spnas compare RUN RUN ... [options]",
        description=(
            "Prints each run's front in a line, with the hypervolume that it dominates down to one common reference "
            "point, and draws all fronts into one picture. Runs of one task only."
        ),
        examples=("spnas compare results/first results/second --plot fronts.png",),
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--reference",
        nargs=2,
        type=float,
        metavar=("ACCURACY", "LATENCY"),
        help="reference point; default: 0 and a tenth slower than the slowest model",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        default=Path("compare.png"),
        metavar="FILE",
        help="default: compare.png",
    )
    parser.add_argument("--json", action="store_true", help="print JSON; draw nothing")


def run(args: argparse.Namespace) -> int:
    """Compare, print and draw."""
    from spnas.finish.comparison import compare_runs
    from spnas.finish.comparison_plot import plot_comparison

    found = compare_runs(args.runs, tuple(args.reference) if args.reference else None)
    if args.json:
        print(json.dumps(_content(found), indent=2))
        return 0
    _print(found)
    plot_comparison(found, args.plot)
    print(f"\npicture: {args.plot}")
    return 0


def _figures(found: Comparison, one: ComparedRun, volume: float) -> dict[str, Any]:
    accuracies = [record.scores[found.metric] for record in one.front]
    latencies = [late for record in one.front if (late := found.latency(record)) is not None]
    return {
        "run": one.name,
        "base": one.resolved.get("base"),
        "complete": one.complete,
        "models": len(one.front),
        "confirmed": one.confirmed,
        "best_accuracy": max(accuracies, default=None),
        "base_accuracy": one.base.scores.get(found.metric) if one.base else None,
        "fastest": min(latencies, default=None),
        "hypervolume": volume,
    }


def _content(found: Comparison) -> dict[str, Any]:
    pairs = zip(found.runs, found.hypervolumes, strict=True)
    return {
        "metric": found.metric,
        "latency": found.unit,
        "reference": list(found.reference),
        "runs": [_figures(found, one, volume) for one, volume in pairs],
        "warnings": found.warnings,
    }


def _print(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    from spnas.runs.summary import METRIC_TITLES

    title = METRIC_TITLES.get(found.metric, found.metric)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("run", no_wrap=True, overflow="ellipsis")
    names = ("trials", "models", title, "base's", f"least {found.unit}", "hypervolume")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for one, volume in zip(found.runs, found.hypervolumes, strict=True):
        figures = _figures(found, one, volume)
        table.add_row(
            figures["run"],
            str(figures["complete"]),
            str(figures["models"]),
            _number(figures["best_accuracy"], ".4f"),
            _number(figures["base_accuracy"], ".4f"),
            _number(figures["fastest"], ".3f"),
            f"{volume:.4f}",
        )
    console = Console(highlight=False, markup=False)
    console.print(table)
    accuracy, latency = found.reference
    console.print(
        f"\nhypervolume down to {title} {accuracy:g} and latency {latency:.3f} ({_UNITS[found.unit]})",
        soft_wrap=True,
    )
    for warning in found.warnings:
        console.print(f"warning: {warning}", soft_wrap=True)


_UNITS = {"ratio": "of the base network's", "ms": "ms, as the base networks differ"}


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
