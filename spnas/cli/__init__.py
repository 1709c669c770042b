"""The `spnas` command: one file a subcommand, loaded when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from spnas.errors import InputError, SpnasError
from spnas.plugins import load_plugins

_COMMANDS = (
    "search",
    "spaces",
    "validate",
    "check-data",
    "profile",
    "latency-table",
    "pareto",
    "analyze",
    "report",
    "logs",
    "dashboard",
)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"spnas.cli.{command.replace('-', '_')}")


def make_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="spnas",
        description="Neural architecture search over convolution operators: latency against accuracy.",
    )
    from spnas import __version__

    parser.add_argument("--version", action="version", version=f"spnas {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        _module(name).add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit code: 0, 1 for a failure, 2 for input that cannot be used."""
    args = make_parser().parse_args(argv)
    try:
        load_plugins()
        code: int = _module(args.command).run(args)
    except InputError as error:
        for problem in error.problems:
            print(f"spnas: error: {problem}", file=sys.stderr)
        return 2
    except SpnasError as error:
        print(f"spnas: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("spnas: interrupted", file=sys.stderr)
        return 130
    return code
