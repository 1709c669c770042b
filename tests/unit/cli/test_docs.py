"""Every command that README and documentation show is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from spnas.cli import make_parser

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def shown_commands(text: str) -> list[str]:
    """Find the lines of code blocks, and the code in running text, that begin with `spnas` and name a command."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    shells = "\n".join(block for language, block in blocks if language in ("", "shell", "text"))
    lines = re.findall(r"^(?:\$ )?(spnas [^#\n]+)", shells, re.MULTILINE)
    return lines + re.findall(r"`(spnas [a-z-]+ [^`\n]*)`", text)


def taken(arguments: list[str]) -> bool:
    """Whether the command line takes these arguments; `--help` ends it with code 0."""
    try:
        make_parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code == 0
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_shown_are_taken(page: Path) -> None:
    for command in shown_commands(page.read_text()):
        assert taken(shlex.split(command)[1:]), command


def test_commands_are_found() -> None:
    assert len(shown_commands((ROOT / "README.md").read_text())) >= 9
