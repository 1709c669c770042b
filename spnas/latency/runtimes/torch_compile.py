"""PyTorch's compiler, `torch.compile` with Inductor: fused kernels, C++ on a CPU and Triton on CUDA.

Source: https://docs.pytorch.org/docs/stable/generated/torch.compile.html
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import torch
import torch._inductor.config as inductor
from torch import Tensor, nn

from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Forward
from spnas.latency.runtimes.session import DeployedSession
from spnas.latency.runtimes.torch_eager import to_device, torch_session

NAME = "torch-compile"


def lacks(device: torch.device) -> str | None:
    """Say what the compiler lacks on the device."""
    if device.type == "cuda":
        return None if find_spec("triton") else "install Triton (pip install triton)"
    compiler = os.environ.get("CXX", "g++")  # as Inductor looks for it
    if shutil.which(compiler):
        return None
    return f"no C++ compiler {compiler!r}, install one (apt install g++) or name yours in CXX"


@register_runtime(NAME, ("cpu", "cuda"), lacks)
@contextmanager
def torch_compile(device: torch.device, threads: int) -> Iterator[DeployedSession]:
    """Open a session of torch whose networks are compiled when they are loaded, some 5 to 30 s for each.

    At the end all that torch has compiled in this process is dropped.
    """

    def prepare(network: nn.Module, example: Tensor) -> Forward:
        network, image = to_device(network, example, device, torch.float32)
        # Entries of its own: by default, candidates of one class share a limit of 8, then run uncompiled.
        compiled = torch.compile(network, dynamic=False, isolate_recompiles=True)  # type: ignore[call-overload]
        # Frozen weights become constants, laid out for the convolutions once: a quarter of the time on a CPU.
        with inductor.patch(freezing=device.type == "cpu"):
            compiled(image)
        return lambda: compiled(image)

    with torch_session(NAME, torch.float32, device, threads) as session:
        try:
            yield replace(session, prepare=prepare)
        finally:
            torch.compiler.reset()
