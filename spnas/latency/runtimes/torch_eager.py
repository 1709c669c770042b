"""PyTorch as it runs a module call by call, in float32 or in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Clock, Forward, cpu_clock, cuda_clock, wall_clock
from spnas.latency.runtimes.pointwise import route_pointwise
from spnas.latency.runtimes.session import DeployedSession


@contextmanager
def torch_session(
    name: str, dtype: torch.dtype, device: torch.device, threads: int
) -> Iterator[DeployedSession]:
    """Open a session with that many torch threads; the number there was before is put back at the end.

    On a CPU the process keeps the memory it frees from then on (see `allocator`).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_freed_memory()

    def prepare(network: nn.Module, example: Tensor) -> Forward:
        network, image = to_device(network, example, device, dtype)
        if device.type == "cpu" and threads == 1 and dtype == torch.float32:
            route_pointwise(network, image)
        return lambda: network(image)

    try:
        yield DeployedSession(name, device, dtype, _clock(device, threads), prepare)
    finally:
        torch.set_num_threads(before)


def to_device(
    network: nn.Module, example: Tensor, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Module, Tensor]:
    """Move a network and its input to a device, in the memory layout that is the faster one there.

    On a CPU channels_last, which was faster for all our networks. On CUDA channels_last in half precision: kernels for
    Tensor Cores work in it, and tensors in the other layout are transposed around them, see NVIDIA's guide,
    https://docs.nvidia.com/deeplearning/performance/dl-performance-convolutional. float32 on CUDA, and all on MPS, in
    the layout that torch and its users have by default.
    """
    half = dtype in (torch.float16, torch.bfloat16)
    nhwc = device.type == "cpu" or (device.type == "cuda" and half)
    layout = torch.channels_last if nhwc else torch.contiguous_format
    image = example.to(device, dtype, memory_format=layout, copy=True)
    return network.to(device, dtype).to(memory_format=layout), image


def _clock(device: torch.device, threads: int) -> Clock:
    if device.type == "cuda":
        return cuda_clock(torch.cuda.current_stream(device))
    if device.type == "mps":
        return wall_clock(torch.mps.synchronize)
    return cpu_clock(threads)


# float16 on a CPU takes many times float32's time without AVX512-FP16 or AMX: 6 to 24 times for our networks.
# bfloat16 on MPS is left out, as not all of its operators have it.
for _name, _dtype, _devices in (
    ("torch", torch.float32, ("cpu", "cuda", "mps")),
    ("torch-bf16", torch.bfloat16, ("cpu", "cuda")),
    ("torch-fp16", torch.float16, ("cuda", "mps")),
):
    register_runtime(_name, _devices)(partial(torch_session, _name, _dtype))
