"""Operators that can take the place of a k x k convolution, one a file."""

from spnas.operators import ghost, regular, spconv
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
    "get_operator",
    "ghost",
    "operator_names",
    "refusal",
    "register_operator",
    "regular",
    "spconv",
]
