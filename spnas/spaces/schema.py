"""The shape of a search space file, checked before anything is looked up."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from spnas.names import near_miss
from spnas.runs.yaml_file import KeyPath, YamlFile

_EXPECTED = {
    "schema_version": "1",
    "base": "the name of a base network such as yolov8n",
    "sites": "a list of rules {match: pattern, choices: [...]}",
    "match": "a pattern of site names such as 'model.4.*'",
    "choices": "a list of choices such as [regular, {op: ghost, ratio: [0.5, 0.25]}]",
    "tie": "a list of patterns of site names",
}
_ITEMS = {
    "sites": "a rule {match: pattern, choices: [...]}",
    "tie": "a pattern of site names such as 'model.4.*'",
}


class RuleSchema(BaseModel):
    """What the sites of a pattern can choose from."""

    model_config = ConfigDict(extra="forbid", strict=True)

    match: str = Field(min_length=1)
    choices: list[Any] = Field(min_length=1)


class SpaceSchema(BaseModel):
    """A search space file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: int = Field(ge=1, le=1)
    base: str
    sites: list[RuleSchema] = Field(min_length=1)
    tie: list[str] = []


def schema_problems(file: YamlFile) -> list[str]:
    """Check a file's keys and their types.

    Returns:
        `file:line: key: expected ..., got ...` for each problem, in the file's order.
    """
    if not isinstance(file.value, dict):
        got = "nothing" if file.value is None else f"{file.value!r:.60}"
        return [
            f"{file.where()}expected a mapping with {', '.join(SpaceSchema.model_fields)}, got {got}"
        ]
    if "spnas" in file.value:
        return [f"{file.where('spnas')}this is a model yaml, expected a search space"]
    try:
        SpaceSchema.model_validate(file.value)
    except ValidationError as error:
        return [_problem(file, item) for item in error.errors(include_url=False)]
    return []


def valid_rules(content: Any) -> dict[int, RuleSchema]:
    """Give the rules that can be read, by their place, so that they are checked although others cannot be."""
    rules: dict[int, RuleSchema] = {}
    items = content.get("sites") if isinstance(content, dict) else None
    for place, item in enumerate(items if isinstance(items, list) else []):
        try:
            rules[place] = RuleSchema.model_validate(item)
        except ValidationError:
            continue
    return rules


def _problem(file: YamlFile, error: ErrorDetails) -> str:
    keys: KeyPath = error["loc"]
    if error["type"] == "invalid_key":  # such as `1:`
        where = file.where(*keys[:-1], str(keys[-1]))
        return f"{where}expected a name as key, got {error['input']!r}"
    where = file.where(*keys)
    if error["type"] == "extra_forbidden":
        model = RuleSchema if len(keys) > 1 else SpaceSchema
        near = near_miss(str(keys[-1]), model.model_fields)
        return f"{where}unknown key, allowed: {', '.join(model.model_fields)}{near}"
    expected = _ITEMS[str(keys[-2])] if isinstance(keys[-1], int) else _EXPECTED[str(keys[-1])]
    if error["type"] == "missing":
        return f"{where}missing, expected {expected}"
    return f"{where}expected {expected}, got {error['input']!r:.60}"
