"""ONNX Runtime on the CPU: what a network is mostly deployed with there.

Source: https://onnxruntime.ai/docs/performance/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Forward, cpu_clock
from spnas.latency.runtimes.onnx_export import export
from spnas.latency.runtimes.session import DeployedSession

NAME = "onnxruntime"


def session_options(threads: int) -> Any:
    """Give ONNX Runtime's options for a session with so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between operators would take the time of whatever runs beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def onnx_forward(model: bytes | str, example: Tensor, threads: int) -> Forward:
    """Make an ONNX model, or the file of one, ready to run on an input on the CPU."""
    session = onnxruntime.InferenceSession(
        model, session_options(threads), providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: np.ascontiguousarray(example.numpy())}
    return lambda: session.run(None, feed)


@register_runtime(NAME, ("cpu",))
@contextmanager
def onnx_runtime(device: torch.device, threads: int) -> Iterator[DeployedSession]:
    """Open a session on the CPU with that many threads; see `torch_eager` for the memory that is kept."""
    keep_freed_memory()

    prepare = partial(onnx_forward, threads=threads)
    yield DeployedSession(NAME, device, torch.float32, cpu_clock(threads), prepare, export)
