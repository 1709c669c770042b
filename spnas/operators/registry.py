"""The operators by name: one registration each, from spnas or from another package."""

from __future__ import annotations

import inspect
from typing import TypeVar

from spnas.architecture import Choice, ConvSite
from spnas.errors import ArchitectureError
from spnas.names import near_miss
from spnas.operators.base import Host, Operator

_OPERATORS: dict[str, type[Operator]] = {}
_Op = TypeVar("_Op", bound=type[Operator])


def register_operator(cls: _Op) -> _Op:
    """Make an operator known under its `name`; use as a class decorator.

    Raises:
        ValueError: The name is taken.
    """
    if cls.name in _OPERATORS:
        raise ValueError(
            f"operator {cls.name!r} is registered already, by {_OPERATORS[cls.name].__module__}"
        )
    _OPERATORS[cls.name] = cls
    return cls


def operator_names() -> list[str]:
    """List the registered operators' names, sorted."""
    return sorted(_OPERATORS)


def get_operator(name: str) -> type[Operator]:
    """Give the operator class of that name.

    Raises:
        ArchitectureError: There is none; the message lists those there are.
    """
    if name not in _OPERATORS:
        raise ArchitectureError(
            f"unknown operator {name!r}, expected one of: {', '.join(operator_names())}"
            f"{near_miss(name, operator_names())}"
        )
    return _OPERATORS[name]


def _parameters(cls: type[Operator]) -> dict[str, bool]:
    """Map the operator's own parameters to whether they must be given."""
    found = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default is p.empty for p in found if p.kind is p.KEYWORD_ONLY}


def choice_problem(choice: Choice) -> str | None:
    """Say what is wrong with a choice wherever it is used (unknown operator or parameter); None where nothing is."""
    try:
        own = _parameters(get_operator(choice.op))
    except ArchitectureError as error:
        return str(error)
    unknown = sorted(set(choice.kwargs) - set(own))
    missing = sorted(
        name for name, required in own.items() if required and name not in choice.kwargs
    )
    if unknown:
        allowed = ", ".join(own) if own else "none"
        return (
            f"{choice.op}: unknown parameter {', '.join(unknown)}, allowed: {allowed}"
            f"{near_miss(unknown[0], own)}"
        )
    if missing:
        return f"{choice.op}: parameter {', '.join(missing)} is missing"
    return None


def refusal(choice: Choice, site: ConvSite) -> str | None:
    """Say why the choice cannot be made at the site; None where it can."""
    return choice_problem(choice) or get_operator(choice.op).refusal(site, **choice.kwargs)


def build_operator(choice: Choice, site: ConvSite, host: Host) -> Operator:
    """Make the choice's operator for a site, with fresh weights.

    Raises:
        ArchitectureError: The choice cannot be made at this site.
    """
    problem = choice_problem(choice)
    if problem is not None:
        raise ArchitectureError(f"{site}: {problem}")
    return get_operator(choice.op)(site, host, **choice.kwargs)


__all__ = [
    "build_operator",
    "choice_problem",
    "get_operator",
    "operator_names",
    "refusal",
    "register_operator",
]
