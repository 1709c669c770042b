"""What a runtime is: a way to run a network on a device, with the clock that suits it. And the registry of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from spnas.errors import ConfigError
from spnas.names import near_miss


@dataclass(frozen=True)
class Sample:
    """What a few forwards in a row took, all of them together.

    Attributes:
        wall_s: Wall seconds, what a user waits.
        clock_s: Seconds on the runtime's steadiest clock, the one that ratios are made of.
    """

    wall_s: float
    clock_s: float


@dataclass(frozen=True)
class Sampler:
    """A network ready to be timed: called with a number of forwards it runs them, each waited for, and times them.

    Attributes:
        take: Does so.
        max_error: How far the network's output in the runtime is off torch's in float32, see `output_check`.
    """

    take: Callable[[int], Sample]
    max_error: float = 0.0

    def __call__(self, forwards: int) -> Sample:
        """Run that many forwards."""
        return self.take(forwards)


class Session(Protocol):
    """A device made ready for measuring; `runtimes.session.DeployedSession` is the one that all runtimes here open."""

    @property
    def runtime(self) -> str:
        """The runtime's name."""

    @property
    def clock(self) -> str:
        """What `Sample.clock_s` is read from, such as `thread_cpu`, `wall` or `cuda_event`."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that networks are run in."""

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Make a deployed network ready to be timed on an input `(N, C, H, W)`; leave both arguments as they are."""


# Opens a session on a device with so many threads; what it changes in the process is put back when it is closed.
Runtime = Callable[[torch.device, int], AbstractContextManager[Session]]

# Says in a few words what is missing for the runtime on the device and how to get it; None where nothing is.
Lacks = Callable[[torch.device], str | None]

_R = TypeVar("_R", bound=Runtime)


@dataclass(frozen=True)
class _Entry:
    runtime: Runtime
    devices: tuple[str, ...]
    lacks: Lacks


_RUNTIMES: dict[str, _Entry] = {}


def register_runtime(
    name: str,
    devices: tuple[str, ...] = ("cpu", "cuda", "mps"),
    lacks: Lacks = lambda device: None,
) -> Callable[[_R], _R]:
    """Make a runtime known under a name; use as a decorator.

    Args:
        name: Its name.
        devices: Types of the devices that it runs on.
        lacks: Says what this machine lacks to run it on one of them, such as a package, and how to install it.

    Raises:
        ValueError: The name is taken.
    """

    def register(runtime: _R) -> _R:
        if name in _RUNTIMES:
            raise ValueError(f"runtime {name!r} is registered already")
        _RUNTIMES[name] = _Entry(runtime, devices, lacks)
        return runtime

    return register


def runtime_names() -> list[str]:
    """List the registered runtimes' names, sorted; also of those that this machine lacks something for."""
    return sorted(_RUNTIMES)


def default_runtime(device: torch.device) -> str:
    """Name the runtime to measure in where none is asked for: what is deployed with on the device and always there.

    ONNX Runtime on a CPU. On CUDA torch's kernels in half precision without its launches, which is next to what
    TensorRT does; launched from Python a small network at batch 1 takes four times as long, whatever it computes.
    """
    return {"cpu": "onnxruntime", "cuda": "cuda-graph-fp16"}.get(device.type, "torch")


def get_runtime(name: str) -> Runtime:
    """Give the runtime of that name.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    return _entry(name).runtime


def check_runtime(name: str, device: torch.device) -> None:
    """Check that there is a runtime of that name, that it runs on the device, and that what it needs is installed.

    Raises:
        ConfigError: It does not; the message tells what is allowed, or what to install.
    """
    entry = _entry(name)
    if device.type not in entry.devices:
        fitting = [known for known in runtime_names() if device.type in _RUNTIMES[known].devices]
        raise ConfigError(
            f"runtime {name} does not run on {device}, expected one of: {', '.join(fitting)}"
        )
    if lacking := entry.lacks(device):
        raise ConfigError(f"runtime {name} cannot be used on {device}: {lacking}")


def _entry(name: str) -> _Entry:
    if name not in _RUNTIMES:
        raise ConfigError(
            f"unknown runtime {name!r}, expected one of: {', '.join(runtime_names())}"
            f"{near_miss(name, runtime_names())}"
        )
    return _RUNTIMES[name]
