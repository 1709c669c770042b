"""`spnas analyze`: what a run's trials say about its search space."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas.names import counted

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from spnas.runs import RunContent
    from spnas.runs.analysis import Analysis

_MOST_SITES = 12


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "analyze",
        help="tell which sites and operators matter in a run",
        description=(
            "Tells which sites and operators matter for accuracy and latency, what the front's models choose, how far "
            "the ranks of short trainings can be trusted, and what the search cost; writes the tables to RUN/analysis/."
        ),
        examples=("spnas analyze results/my-run",),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )


def run(args: argparse.Namespace) -> int:
    """Analyze, print and write."""
    from rich.console import Console

    from spnas.errors import RunError
    from spnas.runs import RunDirectory, read_run
    from spnas.runs.analysis import analyze
    from spnas.runs.files import write_csv
    from spnas.search.confirmation import confirmed_records

    directory = RunDirectory.open(args.run)
    content = read_run(directory)
    if not content.trials:
        raise RunError(f"{args.run}: no trial has ended yet, so there is nothing to analyze")
    confirmed = confirmed_records(content.trials, content.again, content.metric)
    found = analyze(content, confirmed)
    directory.analysis_dir.mkdir(exist_ok=True)
    for name, table in found.tables.items():
        write_csv(directory.analysis_dir / name, table)
    console = Console(highlight=False, markup=False)
    complete = len(content.in_state("complete"))
    front = "confirmed front" if confirmed else "front"
    console.print(
        f"{args.run}: {complete} of {len(content.trials)} trials complete, {front} of {found.front} models",
        soft_wrap=True,
    )
    _print_sites(console, content, found)
    _print_operators(console, content, found)
    _print_ranks(console, found)
    _print_costs(console, content, found)
    console.print(f"\nall of it: {directory.analysis_dir}/*.csv", soft_wrap=True)
    return 0


def _print_sites(console: Console, content: RunContent, found: Analysis) -> None:
    from spnas.runs.analysis import FEWEST_TRIALS

    console.print("\nWhich sites matter", style="bold")
    if not found.explained:
        console.print(f"too few trials to say, or all alike: expected at least {FEWEST_TRIALS}")
        return
    told = [f"{share:.0%} of {name}" for name, share in found.explained.items()]
    console.print(
        "The growth of a model's error where a site is shuffled, in shares of the variance. "
        f"The model, additive over sites, explains {' and '.join(told)} (R2, trials held out)."
    )
    names = [f"{name}_importance" for name in found.explained]
    ranked = found.sites.sort_values(names[0], ascending=False).head(_MOST_SITES)
    rows = [
        (row["site"], *(f"{row[name]:.3f}" for name in names), _chosen(row, found))
        for _, row in ranked.iterrows()
    ]
    console.print(_table(["site", *found.explained, "the front chooses"], rows, text=(0, -1)))
    if len(found.sites) > _MOST_SITES:
        console.print(f"and {counted(len(found.sites) - _MOST_SITES, 'site')} more, in sites.csv")


def _chosen(row: pd.Series[Any], found: Analysis) -> str:
    """Tell what the models of the front choose at a site, the most frequent first."""
    counts = {choice: int(row[choice]) for choice in found.operators["choice"]}
    used = sorted((choice for choice in counts if counts[choice]), key=lambda c: -counts[c])
    return ", ".join(f"{counts[choice]} {choice}" for choice in used[:2])


def _print_operators(console: Console, content: RunContent, found: Analysis) -> None:
    console.print("\nWhich operators matter", style="bold")
    console.print(
        "Share of all sites, in complete trials and on the front; what one more site of it changes, in parentheses one "
        "standard deviation."
    )
    rows = [
        (
            row["choice"],
            *(_share(row[name]) for name in ("trials_share", "front_share")),
            *(_effect(row, name) for name in ("accuracy", "latency")),
        )
        for _, row in found.operators.iterrows()
    ]
    header = [
        "choice",
        "trials",
        "front",
        f"{content.metric_title}, points",
        "latency, % of the base",
    ]
    console.print(_table(header, rows))


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.0%}"


def _effect(row: pd.Series[Any], name: str) -> str:
    effect, std = 100 * row[f"{name}_effect"], 100 * row[f"{name}_effect_std"]
    return "-" if effect != effect or row["choice"] == "regular" else f"{effect:+.2f} ({std:.2f})"


def _print_ranks(console: Console, found: Analysis) -> None:
    if found.ranks.empty:
        return
    console.print("\nHow stable ranks are", style="bold")
    console.print(
        "Kendall's tau: 1 where both put the trials in the same order, 0 where by chance."
    )
    rows = [
        (row["earlier"], row["later"], str(row["trials"]), f"{row['tau']:.2f}")
        for _, row in found.ranks.iterrows()
    ]
    console.print(_table(["ranked at", "and at", "trials", "tau"], rows, text=(0, 1)))


def _print_costs(console: Console, content: RunContent, found: Analysis) -> None:
    total = found.costs["device_s"].sum()
    if not total:
        return
    console.print("\nWhat it cost", style="bold")
    rows = [
        (row["phase"], f"{row['device_s'] / 60:.1f}", f"{row['device_s'] / total:.0%}")
        for _, row in found.costs.iterrows()
    ]
    rows.append(("all", f"{total / 60:.1f}", ""))
    console.print(_table(["phase", f"{content.device_unit}-minutes", "share"], rows))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> Any:
    """Make a table in the style of the others; columns of text to the left, figures to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    left = {column % len(header) for column in text}
    for place, name in enumerate(header):
        justify: Any = "left" if place in left else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table
