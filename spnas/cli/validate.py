"""`spnas validate`: check search space files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "validate",
        help="check search space files",
        description=(
            "Checks search space files and prints ok for each, or every mistake with its line and key. The exit code "
            "is 2 where there is any."
        ),
        examples=("spnas validate my_space.yaml",),
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a yaml file, or a folder of them"
    )


def run(args: argparse.Namespace) -> int:
    """Check each file; raises one error with the problems of all."""
    from spnas.errors import SpaceError
    from spnas.spaces import load_space

    problems: list[str] = []
    for path in args.paths:
        files = _files(path)
        if not files:
            problems.append(f"{path}: expected yaml files in the folder, found none")
        for file in files:
            try:
                space = load_space(file)
            except SpaceError as error:
                problems += error.problems
            else:
                print(
                    f"ok {file}: {len(space.sites)} sites, 10^{space.log10_size:.1f} architectures"
                )
    if problems:
        raise SpaceError(problems)
    return 0


def _files(path: Path) -> list[Path]:
    """Give the yaml files of a folder, or the file itself."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
