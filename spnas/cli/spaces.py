"""`spnas spaces`: the search spaces shipped with spnas."""

from __future__ import annotations

import argparse
import json
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "spaces",
        help="list the shipped search spaces",
        description=(
            "Lists the search spaces shipped with spnas: base network, searchable convolutions (sites), distinct "
            "choices, and the decimal logarithm of the number of architectures."
        ),
        examples=("spnas spaces",),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    from spnas.spaces import list_spaces, load_space

    spaces = [load_space(name) for name in list_spaces()]
    rows = [
        {
            "name": space.name,
            "base": space.base,
            "sites": len(space.sites),
            "choices": [str(choice) for choice in space.uniform_choices()],
            "log10_size": space.log10_size,
        }
        for space in spaces
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _print(rows)
    return 0


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("base", no_wrap=True)
    for name in ("sites", "choices", "log10 size"):
        table.add_column(name, justify="right")
    for row in rows:
        size = f"{row['log10_size']:.1f}"
        table.add_row(row["name"], row["base"], str(row["sites"]), str(len(row["choices"])), size)
    console = Console(highlight=False)
    console.print(table)
    console.print()
    for choices in dict.fromkeys(", ".join(row["choices"]) for row in rows):
        names = [row["name"] for row in rows if ", ".join(row["choices"]) == choices]
        whose = "all" if len(names) == len(rows) else ", ".join(names)
        console.print(f"choices of {whose}: {choices}")
