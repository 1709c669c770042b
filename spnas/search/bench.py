"""What latency is measured on: a device of the machine that this is used on; `remote.py` uses it on another node."""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spnas.device import resolve_device
from spnas.latency import Measurement, check_runtime, device_lock, measure, peak_memory_mb
from spnas.search.environment import describe_environment


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
    ) -> tuple[Measurement, float]:
        """Measure a deployed network beside the base's deployed form while nobody else trains or measures here.

        Args:
            candidate: The candidate's deployed form.
            base: The base network's deployed form.
            example: An input `(N, C, H, W)`, float32.
            limit: A latency ratio above which it need not be known exactly.

        Returns:
            The latency, and the peak memory of the candidate's forward, MB.
        """
        device = resolve_device(self.device)
        latency = measure(
            candidate,
            base,
            example,
            device=device,
            runtime=self.runtime,
            limit=limit,
            exclusive=device_lock(device).exclusive,
        )
        return latency, peak_memory_mb(candidate, example, device)
