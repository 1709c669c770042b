"""What a run was made with: machine, versions, git revision."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import psutil
import torch

import spnas
from spnas.device import device_name

_PACKAGES = (
    "torch",
    "torchvision",
    "ultralytics",
    "ultralytics-thop",
    "optuna",
    "ray",
    "numpy",
    "pandas",
)
# What latency may be measured in, beside torch.
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt")

_FREE = 0.75  # of a device, and it is as good as free
_WATCHED_S = 0.3


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Give the machine, the versions and the device, as environment.json holds them."""
    cuda = device.type == "cuda"
    return {
        "spnas": spnas.__version__,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": device_name(torch.device("cpu")),
        "cores": joblib.cpu_count(),
        "device": device_name(device) if cuda else str(device),
        "cuda": torch.version.cuda if cuda else None,
        "versions": {
            **{name: metadata.version(name) for name in _PACKAGES},
            **{name: metadata.version(name) for name in _RUNTIMES if _installed(name)},
        },
    }


def machine_line(device: torch.device, threads: int = 1) -> str:
    """Tell, in a line to stand below a benchmark's figures, on what machine they were measured, and when.

    Args:
        device: What was measured on.
        threads: CPU threads used.
    """
    machine = describe_environment(device)
    measured_with = ("torch", "ultralytics", "onnxruntime", "optuna")
    versions = [f"{name} {machine['versions'][name]}" for name in measured_with]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {threads} thread(s), device {machine['device']}; "
        f"{machine['platform']}, Python {machine['python']}, {', '.join(versions)}, spnas {machine['spnas']}; "
        f"load average at the end (1, 5, 15 minutes) {load}; {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."
    )


def used_by_others(device: torch.device) -> str | None:
    """Tell what others take of a device right now, None where it is nearly free; a CPU is watched for 0.3 s.

    To be asked before a search starts anything itself. Of a GPU its memory is looked at, of a CPU all cores' work.
    """
    if device.type == "cuda":
        used, total = _gpu_memory(device)
        if used <= (1 - _FREE) * total:
            return None
        return f"others use {device}: {used / 1e9:.1f} of its {total / 1e9:.1f} GB are taken"
    taken = psutil.cpu_percent(_WATCHED_S) / 100
    if taken <= 1 - _FREE:
        return None
    return f"others keep {taken:.0%} of this machine's processors busy"


def _gpu_memory(device: torch.device) -> tuple[int, int]:
    """Give the bytes that others have taken and all there are, by NVML: asking CUDA would take some hundred MB."""
    total = int(torch.cuda.get_device_properties(device).total_memory)
    own = torch.cuda.memory_reserved(device)
    try:
        return int(torch.cuda.device_memory_used(device)) - own, total
    except Exception:  # NVML is missing on some boards, in many ways; nothing hangs on what it says
        return 0, total


def git_revision() -> str | None:
    """Give the revision of the checkout that spnas runs from; None where it is installed from a wheel."""
    folder = Path(spnas.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def _installed(package: str) -> bool:
    return any(metadata.distributions(name=package))
