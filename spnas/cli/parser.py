"""The parser of all subcommands: help that fits a screen, mistakes told in one line with the near miss."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from spnas.names import near_miss

_WIDTH = 80
_HELP_COLUMN = 26


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help of at most 80 columns; descriptions are filled, the examples below are left as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_HELP_COLUMN, width=_WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """A parser whose help ends with examples and whose errors are one line.

    Args:
        examples: Command lines shown below the help.
        options: As for `argparse.ArgumentParser`.
    """

    def __init__(self, *, examples: Sequence[str] = (), **options: Any) -> None:
        if examples:
            heading = "example:" if len(examples) == 1 else "examples:"
            options["epilog"] = "\n  ".join([heading, *examples])
        super().__init__(formatter_class=_Formatter, **options)
        self.commands: dict[str, CommandParser] = {}
        self.summaries: dict[str, str] = {}

    def note_commands(self, subparsers: Any) -> None:
        """Remember the subcommands, each with its line of help."""
        self.commands = dict(subparsers.choices)
        self.summaries = {action.dest: action.help for action in subparsers._choices_actions}

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse; tell of options that there are not, with those that are spelled like them."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if hasattr(parsed, "settings"):
            # argparse takes SETTING=VALUE only where it stands right behind MODEL, not behind an option.
            parsed.settings = [*parsed.settings, *filter(_is_setting, unknown)]
            unknown = [text for text in unknown if not _is_setting(text)]
        if unknown:
            command = self.commands.get(parsed.command, self)
            known = [name for action in command._actions for name in action.option_strings]
            command.error(f"unrecognized arguments: {_with_near_misses(unknown, known)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line."""
        self.exit(2, f"spnas: error: {message} (see `{self.prog} --help`)\n")


def _is_setting(text: str) -> bool:
    return "=" in text and not text.startswith("-")


def _with_near_misses(unknown: Iterable[str], known: Iterable[str]) -> str:
    known = list(known)
    return ", ".join(
        text + (near_miss(text.partition("=")[0], known) if text.startswith("-") else "")
        for text in unknown
    )
