"""Which devices a search reserves, and which one latency is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import joblib
import torch

from spnas.device import resolve_device
from spnas.errors import ConfigError
from spnas.latency import check_runtime, default_runtime
from spnas.search.config import NODE, SearchConfig


@dataclass(frozen=True)
class NodeShare:
    """What a search reserves of one node of a Ray cluster.

    Attributes:
        node_id: The node's, as Ray numbers it.
        slots: Trials at the same time.
        devices: What the budget counts: GPUs, or cores.
    """

    node_id: str
    slots: int
    devices: float


def latency_device(config: SearchConfig, device: torch.device) -> torch.device:
    """Give the device of this machine that latency is measured on."""
    return device if config.latency_on in (None, device.type) else resolve_device(config.latency_on)


def check_latency(config: SearchConfig, device: torch.device) -> None:
    """Check where and in what latency is measured, as far as this machine knows."""
    if config.address is not None and names_index(config.device):
        raise ConfigError(
            f"--device: expected no number beside --address, where Ray gives out the GPUs, got {config.device}"
        )
    if (config.latency_on or "").startswith(NODE):
        if config.address is None:
            raise ConfigError(
                f"--latency-on {config.latency_on}: expected --address of the Ray cluster that the node has joined"
            )
        return
    device = latency_device(config, device)
    check_runtime(config.runtime or default_runtime(device), device)


def reserve(config: SearchConfig, device: torch.device) -> tuple[int, int, int]:
    """Give cores and GPUs to reserve and the trials that run at a time."""
    cores = joblib.cpu_count()
    cpus = config.cpus or cores
    if cpus > cores:
        raise ConfigError(f"cpus: expected at most the {cores} of this process, got {cpus}")
    if config.cpus_per_trial > cpus:
        raise ConfigError(
            f"cpus_per_trial: expected at most the {cpus} reserved, got {config.cpus_per_trial}"
        )
    if device.type != "cuda":
        slots = cpus // config.cpus_per_trial if device.type == "cpu" else 1
        return cpus, 0, slots
    there = 1 if names_index(config.device) else torch.cuda.device_count()
    gpus = config.gpus or there
    if gpus > there:
        raise ConfigError(f"gpus: expected at most the {there} of {config.device}, got {gpus}")
    if config.gpus_per_trial > gpus:
        raise ConfigError(
            f"gpus_per_trial: expected at most the {gpus} reserved, got {config.gpus_per_trial:g}"
        )
    slots = int(gpus / config.gpus_per_trial)
    return max(cpus, slots * config.cpus_per_trial), gpus, slots


def names_index(device: str) -> bool:
    """Whether the user named one device of several, `cuda:1` or `1`."""
    return device.isdecimal() or ":" in device


def devices_used(config: SearchConfig, device: torch.device, gpus: int) -> list[torch.device]:
    """List the devices of this machine that a search will use: those it trains on and the one it measures on."""
    found = [device]
    if device.type == "cuda" and not names_index(config.device):
        found = [torch.device("cuda", index) for index in range(gpus)]
    if not (config.latency_on or "").startswith(NODE):
        measures = latency_device(config, device)
        found += [measures] if measures.type != device.type else []
    return found
