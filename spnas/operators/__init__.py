"""Operators that can take the place of a k x k convolution, one a file."""

from spnas.operators import (
    dualconv,
    dwsep,
    gam,
    ghost,
    hetconv,
    hwd,
    ldconv,
    mdcr,
    octconv,
    pconv,
    rcs_osa,
    regular,
    repconv,
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
    "hwd",
    "ldconv",
    "mdcr",
    "octconv",
    "operator_names",
    "pconv",
    "rcs_osa",
    "refusal",
    "register_operator",
    "regular",
    "repconv",
    "senetv2",
    "spconv",
]
