"""Operators that can take the place of a k x k convolution, one a file."""

from spnas.operators import (
    dualconv,
    dwsep,
    ghost,
    hetconv,
    hwd,
    ldconv,
    octconv,
    pconv,
    regular,
    repconv,
    spconv,
)
from spnas.operators.base import Host, Operator
from spnas.operators.registry import (
    build_operator,
    choice_problem,
    get_operator,
    operator_names,
    refusal,
    register_operator,
)

__all__ = [
    "Host",
    "Operator",
    "build_operator",
    "choice_problem",
    "dualconv",
    "dwsep",
    "get_operator",
    "ghost",
    "hetconv",
    "hwd",
    "ldconv",
    "octconv",
    "operator_names",
    "pconv",
    "refusal",
    "register_operator",
    "regular",
    "repconv",
    "spconv",
]
