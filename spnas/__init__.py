"""spnas: neural architecture search over convolution operators, measured latency against accuracy.

Importing this package is light: torch, Ultralytics and Ray are imported when a name that needs them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from spnas.architecture import Architecture, Choice, ConvSite
from spnas.errors import InputError, SpnasError

if TYPE_CHECKING:
    from spnas.finish import compare_runs, export_model, train_model, validate_model
    from spnas.latency import deploy
    from spnas.networks import deploy_model, load_model, load_pareto
    from spnas.operators import Host, Operator, register_operator
    from spnas.runs import load_results
    from spnas.sampler import LatencyAwareSampler
    from spnas.spaces import SearchSpace, load_space
    from spnas.ultralytics import YOLO

__version__ = "0.1.0"

_LAZY = {
    "Host": "spnas.operators",
    "LatencyAwareSampler": "spnas.sampler",
    "Operator": "spnas.operators",
    "SearchSpace": "spnas.spaces",
    "YOLO": "spnas.ultralytics",
    "compare_runs": "spnas.finish",
    "deploy": "spnas.latency",
    "deploy_model": "spnas.networks",
    "export_model": "spnas.finish",
    "load_model": "spnas.networks",
    "load_pareto": "spnas.networks",
    "load_results": "spnas.runs",
    "load_space": "spnas.spaces",
    "register_operator": "spnas.operators",
    "train_model": "spnas.finish",
    "validate_model": "spnas.finish",
}

__all__ = [
    "YOLO",
    "Architecture",
    "Choice",
    "ConvSite",
    "Host",
    "InputError",
    "LatencyAwareSampler",
    "Operator",
    "SearchSpace",
    "SpnasError",
    "__version__",
    "compare_runs",
    "deploy",
    "deploy_model",
    "export_model",
    "load_model",
    "load_pareto",
    "load_results",
    "load_space",
    "register_operator",
    "train_model",
    "validate_model",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'spnas' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
