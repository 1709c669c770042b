"""What a runtime is: a way to run a network on a device, with the clock that suits it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from spnas.errors import ConfigError


@dataclass(frozen=True)
class Sample:
    """What a few forwards in a row took, all of them together.

    Attributes:
        wall_s: Wall seconds, what a user waits.
        clock_s: Seconds on the runtime's steadiest clock, the one that ratios are made of.
    """

    wall_s: float
    clock_s: float


# Runs that many forwards, waiting for the result of each, and times them.
Sampler = Callable[[int], Sample]


class Session(Protocol):
    """A device made ready for measuring."""

    @property
    def runtime(self) -> str:
        """The runtime's name."""

    @property
    def clock(self) -> str:
        """What `Sample.clock_s` is read from, such as `thread_cpu`, `wall` or `cuda_event`."""

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Make a deployed network ready to be timed on an input `(N, C, H, W)`; leave both arguments as they are."""


# Opens a session on a device with so many threads; what it changes in the process is put back when it is closed.
Runtime = Callable[[torch.device, int], AbstractContextManager[Session]]

_RUNTIMES: dict[str, Runtime] = {}
_DEVICES: dict[str, tuple[str, ...]] = {}
_R = TypeVar("_R", bound=Runtime)


def register_runtime(
    name: str, devices: tuple[str, ...] = ("cpu", "cuda", "mps")
) -> Callable[[_R], _R]:
    """Make a runtime known under a name; use as a decorator.

    Args:
        name: Its name.
        devices: Types of the devices that it runs on.

    Raises:
        ValueError: The name is taken.
    """

    def register(runtime: _R) -> _R:
        if name in _RUNTIMES:
            raise ValueError(f"runtime {name!r} is registered already")
        _RUNTIMES[name], _DEVICES[name] = runtime, devices
        return runtime

    return register


def runtime_names() -> list[str]:
    """List the registered runtimes' names, sorted."""
    return sorted(_RUNTIMES)


def default_runtime(device: torch.device) -> str:
    """Name the runtime to measure in where none is asked for: what networks are mostly deployed with on the device.

    ONNX Runtime on a CPU; torch elsewhere.
    """
    return "onnxruntime" if device.type == "cpu" else "torch"


def get_runtime(name: str) -> Runtime:
    """Give the runtime of that name.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    if name not in _RUNTIMES:
        raise ConfigError(
            f"unknown runtime {name!r}, expected one of: {', '.join(runtime_names())}"
        )
    return _RUNTIMES[name]


def check_runtime(name: str, device: torch.device) -> None:
    """Check that there is a runtime of that name and that it runs on the device.

    Raises:
        ConfigError: It does not; the message tells what is allowed.
    """
    get_runtime(name)
    if device.type not in _DEVICES[name]:
        fitting = ", ".join(known for known in runtime_names() if device.type in _DEVICES[known])
        raise ConfigError(f"runtime {name} does not run on {device}, expected one of: {fitting}")
