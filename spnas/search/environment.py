"""What a run was made with: machine, versions, git revision."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
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
