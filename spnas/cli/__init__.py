"""The `spnas` command: one file a subcommand, loaded when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from spnas.cli.parser import CommandParser
from spnas.errors import ConfigError, InputError, SpnasError
from spnas.names import near_miss
from spnas.plugins import load_plugins

# In the order of their use, as `spnas --help` lists them.
_COMMANDS = (
    *("spaces", "validate", "check-data", "profile", "latency-table", "search", "logs"),
    *("pareto", "report", "analyze", "dashboard", "compare", "train", "val", "export"),
    *("doctor", "completion"),
)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"spnas.cli.{command.replace('-', '_')}")


def make_parser() -> CommandParser:
    """Build the parser of the whole command line."""
    from spnas import __version__

    parser = CommandParser(
        prog="spnas",
        usage="spnas COMMAND ...",
        description="Neural architecture search over convolution operators: latency against accuracy.",
        examples=(
            "spnas search --space yolov8n --data my.yaml --budget 45m",
            "spnas train results/RUN/pareto/03-1a2b3c4d.yaml --epochs 100",
            "spnas COMMAND --help",
        ),
    )
    parser.add_argument("--version", action="version", version=f"spnas {__version__}")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", prog="spnas", required=True
    )
    for name in _COMMANDS:
        _module(name).add_parser(subparsers)
    parser.note_commands(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit code: 0, 1 for a failure, 2 for input that cannot be used."""
    given = list(sys.argv[1:] if argv is None else argv)
    # Before torch is loaded, which reads it: threads that wait for a core soon leave theirs to others.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _check_command(given)
        args = make_parser().parse_args(given)
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


def _check_command(given: Sequence[str]) -> None:
    """Refuse a subcommand that there is not, naming the one that is spelled like it."""
    command = given[0] if given else ""
    if command and not command.startswith("-") and command not in _COMMANDS:
        raise ConfigError(
            f"unknown command {command!r}, expected one of: {', '.join(_COMMANDS)}"
            f"{near_miss(command, _COMMANDS)}"
        )
