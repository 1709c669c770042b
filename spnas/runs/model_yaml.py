"""Model yaml files: a base network written out, its choices, and what was measured of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spnas.errors import ModelFileError
from spnas.names import shown
from spnas.runs.files import write_text_atomic
from spnas.runs.yaml_file import YamlError, YamlFile, read_yaml

SCHEMA_VERSION = 1
_HEADER = "# A model of spnas, whole: its last line is three dots.\n"
_MAPPINGS = ("spnas", "metrics", "provenance")


class _Dumper(yaml.SafeDumper):
    """Writes lists of plain values on one line, as Ultralytics' model yamls have their layers."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out each time."""
        return True


def _represent_list(dumper: _Dumper, data: list[Any]) -> yaml.SequenceNode:
    """Put a list on one line unless an item of it holds a list or a mapping itself."""
    nested = [inner for item in data if isinstance(item, list) for inner in item]
    flow = not any(isinstance(item, dict) for item in data)
    flow = flow and not any(isinstance(inner, list | dict) for inner in nested)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


def _represent_dict(dumper: _Dumper, data: dict[Any, Any]) -> yaml.MappingNode:
    """Put a choice on one line."""
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style="op" in data)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(dict, _represent_dict)


def model_text(document: dict[str, Any]) -> str:
    """Give a model yaml's text, keys in the given order; the end marker tells a whole file from a truncated one."""
    return _HEADER + yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=100, explicit_end=True, allow_unicode=True
    )


def write_model_yaml(path: Path, document: dict[str, Any]) -> None:
    """Write a model yaml, atomically."""
    write_text_atomic(path, model_text(document))


def read_model_yaml(path: Path | str) -> dict[str, Any]:
    """Read a model yaml and check its frame: that it is whole, of this version, and has its sections.

    Returns:
        The content; plain values only.

    Raises:
        ModelFileError: It is missing, truncated, no YAML or no model; one `file:line: key: ...` for each problem.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        file = read_yaml(path)
    except YamlError as error:
        raise ModelFileError(_truncation(path) or error.problems) from None
    problems = _truncation(path) or _frame_problems(file)
    if problems:
        raise ModelFileError(problems)
    content: dict[str, Any] = file.value
    return content


def _truncation(path: Path) -> list[str]:
    """Tell of a file that spnas wrote and that has lost its end. Files written by hand need no end marker."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if not text.startswith(_HEADER) or text.rstrip().endswith("\n..."):
        return []
    line = len(text.splitlines())
    return [f"{path}:{line}: the file is truncated: expected its last line to be '...'"]


def _frame_problems(file: YamlFile) -> list[str]:
    content = file.value
    if not isinstance(content, dict):
        return [f"{file.where()}expected a model yaml, got {type(content).__name__}"]
    if "sites" in content and "spnas" not in content:
        return [
            f"{file.where('sites')}this is a search space, expected a model yaml (see pareto/*.yaml of a run)"
        ]
    problems = []
    version = content.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        problems.append(
            f"{file.where('schema_version')}expected {SCHEMA_VERSION}, got {shown(version)}"
        )
    problems += [
        f"{file.where(key)}expected a mapping, got {shown(content.get(key))}"
        for key in _MAPPINGS
        if not isinstance(content.get(key), dict) and (key in content or key == "spnas")
    ]
    return problems
