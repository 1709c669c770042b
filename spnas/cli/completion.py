"""`spnas completion`: a script that lets a shell complete subcommands, options and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_PATHS = ("data", "space", "results")  # options whose value may be a path, or not
_SHELLS = ("bash", "zsh", "tcsh")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "completion",
        help="print a shell's completion script",
        description=(
            "Prints a script that makes a shell complete spnas' subcommands, options and files. Have your shell read "
            "it when it starts."
        ),
        examples=(
            "spnas completion bash > ~/.local/share/bash-completion/completions/spnas",
            "spnas completion zsh > ~/.zsh/completions/_spnas   # a folder in $fpath",
        ),
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from spnas.cli import make_parser

    parser = make_parser()
    for name, command in parser.commands.items():
        command.description = parser.summaries[name]  # what the shell shows beside the name
        for action in command._actions:
            if action.type is Path or action.dest in _PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0
