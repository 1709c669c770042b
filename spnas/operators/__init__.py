"""Operators that can take the place of a k x k convolution, one a file."""

from spnas.operators import (
    dualconv,
    dwsep,
    gam,
    ghost,
    hetconv,
    mdcr,
    pconv,
    rcs_osa,
    regular,
    senetv2,
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
    "gam",
    "get_operator",
    "ghost",
    "hetconv",
    "mdcr",
    "operator_names",
    "pconv",
    "rcs_osa",
    "refusal",
    "register_operator",
    "regular",
    "senetv2",
    "spconv",
]
