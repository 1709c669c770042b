"""Which device to run on, as the user names it, and what it is."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from spnas.errors import DeviceError


def available_devices() -> list[str]:
    """List the devices of this machine, the best first: CUDA, MPS, CPU."""
    cuda = (
        [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def resolve_device(name: str = "auto") -> torch.device:
    """Give the device of that name; `auto` takes the best there is, `cuda` the first CUDA device.

    Raises:
        DeviceError: The name is not a device's, or this machine has none such.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    try:
        device = torch.device(int(name) if name.isdecimal() else name)
    except (RuntimeError, ValueError, OverflowError):
        device = None
    if device is not None and device.type == "cuda" and device.index is None:
        device = torch.device("cuda:0")
    if device is None or str(device) not in devices:
        raise DeviceError(
            f"device {name!r} is not available, this machine has: {', '.join(devices)}"
        )
    return device


def device_name(device: torch.device) -> str:
    """Name a device's make and model, such as `AMD EPYC 7B13` or `NVIDIA H100`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
