"""Runtimes that a network's latency can be measured in, one family a file."""

from spnas.latency.runtimes import (
    cuda_graph,
    onnx_cuda,
    onnx_runtime,
    openvino_runtime,
    torch_compile,
    torch_eager,
)
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
    "cuda_graph",
    "default_runtime",
    "get_runtime",
    "onnx_cuda",
    "onnx_runtime",
    "openvino_runtime",
    "register_runtime",
    "runtime_names",
    "torch_compile",
    "torch_eager",
]
