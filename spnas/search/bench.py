"""What latency is measured on: a device of the machine that this is used on; `remote.py` uses it on another node."""

from __future__ import annotations

import copy
import math
import socket
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spnas.device import resolve_device
from spnas.latency import (
    LayerTimer,
    Measurement,
    check_runtime,
    choose_forms,
    device_lock,
    measure,
    peak_memory_mb,
)
from spnas.networks import deploy_model
from spnas.search.environment import describe_environment


@dataclass(frozen=True)
class Measured:
    """What a bench tells of a candidate.

    Attributes:
        latency: Of its deployed form, beside the base's.
        memory_mb: Peak memory of a forward of its deployed form, MB.
        forms: Site to deployed form, where the fastest one is not the operator's default.
    """

    latency: Measurement
    memory_mb: float
    forms: dict[str, str]


@dataclass(frozen=True)
class Bench:
    """A device of the machine that this is used on.

    Attributes:
        device: Its name as `resolve_device` takes it.
        runtime: What latency is measured in; None for the device's default.
    """

    device: str
    runtime: str | None = None

    def describe(self) -> dict[str, Any]:
        """Check that the device and the runtime are there; tell what machine it is, as environment.json holds it.

        Raises:
            InputError: There is no such device, or the runtime does not run on it.
        """
        device = resolve_device(self.device)
        if self.runtime is not None:
            check_runtime(self.runtime, device)
        return {"host": socket.gethostname(), **describe_environment(device)}

    def measure(
        self, candidate: nn.Module, base: nn.Module, example: Tensor, limit: float = math.inf
    ) -> Measured:
        """Measure a network, deployed, beside the base's deployed form while nobody else trains or measures here.

        Args:
            candidate: The candidate's training form; left as it is.
            base: The base network's deployed form.
            example: An input `(N, C, H, W)`, float32.
            limit: A latency ratio above which it need not be known exactly.
        """
        device = resolve_device(self.device)
        lock = device_lock(device).exclusive
        model = copy.deepcopy(candidate)
        forms = choose_forms(
            model, example, LayerTimer(device, runtime=self.runtime, exclusive=lock)
        )
        deployed = deploy_model(model)
        latency = measure(
            deployed,
            base,
            example,
            device=device,
            runtime=self.runtime,
            limit=limit,
            exclusive=lock,
        )
        return Measured(latency, peak_memory_mb(deployed, example, device), forms)
