"""Runtimes that a network's latency can be measured in, one a file."""

from spnas.latency.runtimes import onnx_runtime, torch_eager
from spnas.latency.runtimes.base import (
    Runtime,
    Sample,
    Sampler,
    Session,
    check_runtime,
    default_runtime,
    get_runtime,
    register_runtime,
    runtime_names,
)

__all__ = [
    "Runtime",
    "Sample",
    "Sampler",
    "Session",
    "check_runtime",
    "default_runtime",
    "get_runtime",
    "onnx_runtime",
    "register_runtime",
    "runtime_names",
    "torch_eager",
]
