"""OpenVINO on the CPU, in float32 or bfloat16: what networks are deployed with on Intel's processors.

Source: https://docs.openvino.ai/2026/openvino-workflow/running-inference.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Forward, cpu_clock
from spnas.latency.runtimes.onnx_export import export
from spnas.latency.runtimes.session import DeployedSession


def lacks(device: torch.device) -> str | None:
    """Say that the package is missing, where it is."""
    return None if find_spec("openvino") else "install OpenVINO (pip install 'spnas[openvino]')"


@contextmanager
def openvino_session(
    name: str, dtype: torch.dtype, device: torch.device, threads: int
) -> Iterator[DeployedSession]:
    """Open a session on the CPU with that many threads.

    With one thread a synchronous request does all its work in the calling thread, so its CPU time is the clock.
    """
    keep_freed_memory()

    prepare = partial(openvino_forward, threads=threads, dtype=dtype)
    yield DeployedSession(name, device, dtype, cpu_clock(threads), prepare, export)


def openvino_forward(
    model: bytes | str, example: Tensor, threads: int, dtype: torch.dtype = torch.float32
) -> Forward:
    """Make a model in ONNX, or the file of one in ONNX or OpenVINO's own format, ready to run on an input."""
    import openvino

    config = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Left alone, it takes bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        # Pinned threads would wait for whatever else runs on their cores.
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    network = core.read_model(model=model)
    request = core.compile_model(network, "CPU", config).create_infer_request()
    request.set_input_tensor(openvino.Tensor(example.contiguous().numpy(), shared_memory=True))
    outputs = range(len(network.outputs))

    def forward() -> object:
        request.infer(share_outputs=True)
        return [request.get_output_tensor(i).data for i in outputs]

    return forward


for _name, _dtype in (("openvino", torch.float32), ("openvino-bf16", torch.bfloat16)):
    register_runtime(_name, ("cpu",), lacks)(partial(openvino_session, _name, _dtype))
