"""PyTorch as it runs a module call by call, in float32."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.runtimes.base import Sample, Sampler, register_runtime

# Runs one forward and gives the seconds it took on the clock for ratios.
_Step = Callable[[Callable[[], object]], float]


@dataclass(frozen=True)
class TorchSession:
    """A torch device with its clock.

    Attributes:
        device: Where networks run.
        clock: `thread_cpu`, `wall` or `cuda_event`.
        step: Times one forward on that clock.
    """

    device: torch.device
    clock: str
    step: _Step
    runtime: str = "torch"

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Copy the network to the device; on a CPU in channels_last, the faster layout there for all our networks."""
        layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        network = copy.deepcopy(model).to(self.device).eval()
        network = network.to(memory_format=layout)
        image = example.to(self.device, memory_format=layout, copy=True)

        @torch.inference_mode()
        def sample(forwards: int) -> Sample:
            start = time.perf_counter()
            seconds = sum(self.step(lambda: network(image)) for _ in range(forwards))
            return Sample(time.perf_counter() - start, seconds)

        return sample


def _clocked(clock: Callable[[], float], wait: Callable[[], object] | None = None) -> _Step:
    def step(forward: Callable[[], object]) -> float:
        start = clock()
        forward()
        if wait is not None:
            wait()
        return clock() - start

    return step


def _cuda_step(device: torch.device) -> _Step:
    stream = torch.cuda.current_stream(device)
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def step(forward: Callable[[], object]) -> float:
        start.record(stream)
        forward()
        end.record(stream)
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return step


def _open(device: torch.device, threads: int) -> TorchSession:
    if device.type == "cuda":
        return TorchSession(device, "cuda_event", _cuda_step(device))
    if device.type == "mps":
        return TorchSession(device, "wall", _clocked(time.perf_counter, torch.mps.synchronize))
    keep_freed_memory()
    if threads == 1:
        # All work is then in this thread; its CPU time does not count what other processes take from it.
        return TorchSession(device, "thread_cpu", _clocked(time.thread_time))
    return TorchSession(device, "wall", _clocked(time.perf_counter))


@register_runtime("torch")
@contextmanager
def torch_eager(device: torch.device, threads: int) -> Iterator[TorchSession]:
    """Open a session with that many torch threads; the number there was before is put back at the end.

    On a CPU the process keeps the memory it frees from then on (see `allocator`).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield _open(device, threads)
    finally:
        torch.set_num_threads(before)
