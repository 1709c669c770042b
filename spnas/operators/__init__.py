"""Operators that can take the place of a k x k convolution, one a file."""

from spnas.operators import gam, ghost, mdcr, rcs_osa, regular, senetv2, spconv
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
    "gam",
    "get_operator",
    "ghost",
    "mdcr",
    "operator_names",
    "rcs_osa",
    "refusal",
    "register_operator",
    "regular",
    "senetv2",
    "spconv",
]
