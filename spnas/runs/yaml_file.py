"""YAML that knows its lines: a mistake is told by file, line and key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

KeyPath = tuple[str | int, ...]

_MOST_VALUES = 100_000  # aliases written out; the largest model yaml has some thousands
_LONGEST_NUMBER = 100  # characters
# What PyYAML's constructors raise of a value that does not fit its tag, such as `!!bool x` or the date 2026-13-45.
_UNFIT = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class YamlError(ValueError):
    """A file that is no YAML, or gives a key twice.

    Args:
        problems: One line for each, `file:line: what is wrong`.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class YamlFile:
    """What a YAML file says, and where.

    Attributes:
        path: The file.
        text: Its text.
        value: Its content, plain values only.
        lines: Line (from 1) of each key path; a key's line is that of the key, an item's that of its first word.
    """

    path: Path
    text: str
    value: Any
    lines: dict[KeyPath, int]

    def where(self, *keys: str | int) -> str:
        """Give `file:line: key.path:` of a key path; of a key that is not there, the line of what it is missing in."""
        known = keys
        while known and known not in self.lines:
            known = known[:-1]
        line = self.lines.get(known, 1)
        return f"{self.path}:{line}: {key_text(keys)}: " if keys else f"{self.path}:{line}: "

    def in_order(self, problems: list[str]) -> list[str]:
        """Sort problems that begin as `where` does by their line."""
        start = len(str(self.path)) + 1
        return sorted(problems, key=lambda problem: int(problem[start:].partition(":")[0]))


def key_text(keys: KeyPath) -> str:
    """Give a key path as people write it.

    Examples:
        >>> key_text(("sites", 1, "choices", 0, "ratio"))
        'sites[1].choices[0].ratio'
    """
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML file.

    Raises:
        YamlError: It cannot be read, is no YAML, gives a key twice, or is larger than anything that is meant here.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise YamlError([f"{path}: cannot be read: not UTF-8 text"]) from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_size(node)
        found = list(_walk(node, (), set())) if node is not None else []
        value = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise YamlError([_syntax_problem(path, error)]) from None
    except _UNFIT as error:
        raise YamlError([f"{path}: not valid YAML: {error}"]) from None
    twice = [
        f"{path}:{line}: {key_text(keys)}: given twice" for keys, line, new in found if not new
    ]
    if twice:
        raise YamlError(twice)
    return YamlFile(path, text, value, {keys: line for keys, line, _ in found})


def _syntax_problem(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = [getattr(error, "context", None), getattr(error, "problem", None)]
    what = " ".join(part for part in said if part) or " ".join(str(error).split())
    return f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {what}"


def _check_size(node: Node) -> None:
    """Check that a file is no bomb: a few lines of aliases of aliases, or of digits, that fill the memory.

    Raises:
        ValueError: It is, or an alias holds itself.
    """
    sizes: dict[int, int | None] = {}  # None while a node is being counted

    def count(node: Node) -> int:
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise ValueError("an alias holds itself")
            return known
        sizes[id(node)] = None
        size = 1 + sum(map(count, _parts(node)))
        if size > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES} values")
        sizes[id(node)] = size
        return size

    count(node)


def _parts(node: Node) -> list[Node]:
    """List what a node is made of."""
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, SequenceNode):
        return list(node.value)
    is_number = isinstance(node, ScalarNode) and node.tag.endswith((":int", ":float"))
    if is_number and len(node.value) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(node.value)} characters")
    return []


def _walk(node: Node, keys: KeyPath, seen: set[int]) -> Iterator[tuple[KeyPath, int, bool]]:
    """Yield every key path with its line and whether it is new; an aliased node is walked once."""
    if not keys:
        yield (), node.start_mark.line + 1, True
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        given: set[str] = set()
        for key, value in node.value:
            path = (*keys, str(key.value))
            yield path, key.start_mark.line + 1, path[-1] not in given
            given.add(str(path[-1]))
            yield from _walk(value, path, seen)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield (*keys, index), item.start_mark.line + 1, True
            yield from _walk(item, (*keys, index), seen)
