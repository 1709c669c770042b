"""ONNX Runtime on the CPU: what a network is mostly deployed with there.

Source: https://onnxruntime.ai/docs/performance/
"""

from __future__ import annotations

import copy
import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from spnas.errors import SpnasError
from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.runtimes.base import Sample, Sampler, register_runtime

OPSET = 17
TOLERANCE = 1e-3  # of the largest output, between ONNX Runtime and torch


@dataclass(frozen=True)
class OnnxSession:
    """ONNX Runtime with so many threads.

    Attributes:
        threads: Threads of a forward.
        clock: `thread_cpu` with one thread, `wall` with more.
        read: That clock, seconds.
    """

    threads: int
    clock: str
    read: Callable[[], float]
    runtime: str = "onnxruntime"

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Export the network, check its output against torch's, and make it ready.

        Raises:
            SpnasError: The exported network gives another output.
        """
        network = _for_export(model)
        session = onnxruntime.InferenceSession(
            export(network, example), self._options(), providers=["CPUExecutionProvider"]
        )
        feed = {session.get_inputs()[0].name: np.ascontiguousarray(example.cpu().numpy())}
        _check(network, example, session.run(None, feed)[0])

        def sample(forwards: int) -> Sample:
            wall, clock = time.perf_counter(), self.read()
            for _ in range(forwards):
                session.run(None, feed)
            return Sample(time.perf_counter() - wall, self.read() - clock)

        return sample

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin between operators would take the time of whatever runs beside.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def export(model: nn.Module, example: Tensor) -> bytes:
    """Give a network as ONNX (opset 17), its input sizes fixed.

    By torch's TorchScript-based exporter: it takes a tenth of the newer one's time, and the graphs are the same size.
    """
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (example,), file, dynamo=False, opset_version=OPSET)  # type: ignore[arg-type]
    return file.getvalue()


def _for_export(model: nn.Module) -> nn.Module:
    """Copy the network to the CPU; heads that have an `export` switch (Ultralytics') give their one deployed output."""
    network = copy.deepcopy(model).cpu().eval()
    for module in network.modules():
        if hasattr(module, "export"):
            setattr(module, "export", True)  # noqa: B010 - nn.Module's attributes are typed as tensors or modules
    return network


@torch.inference_mode()
def _check(network: nn.Module, example: Tensor, output: Any) -> None:
    expected = network(example.cpu())
    expected = expected[0] if isinstance(expected, tuple | list) else expected
    error = float(np.abs(output - expected.numpy()).max() / np.abs(expected.numpy()).max())
    if not error <= TOLERANCE:
        raise SpnasError(
            f"onnxruntime: expected torch's output within {TOLERANCE:g} of its largest value, got {error:.3g} off"
        )


@register_runtime("onnxruntime", devices=("cpu",))
@contextmanager
def onnx_runtime(device: torch.device, threads: int) -> Iterator[OnnxSession]:
    """Open a session on the CPU with that many threads; see `torch_eager` for the memory that is kept."""
    keep_freed_memory()
    if threads == 1:
        yield OnnxSession(threads, "thread_cpu", time.thread_time)
    else:
        yield OnnxSession(threads, "wall", time.perf_counter)
