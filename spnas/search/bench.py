"""What latency is measured on: a device of the machine that this is used on; `remote.py` uses it on another node."""

from __future__ import annotations

import copy
import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from spnas.architecture import Choice
from spnas.device import resolve_device
from spnas.latency import (
    KnownBase,
    LatencyTable,
    LayerTimer,
    Measurement,
    build_table,
    check_runtime,
    choose_forms,
    device_lock,
    measure,
    peak_memory_mb,
)
from spnas.networks import deploy_model
from spnas.search.environment import describe_environment

_SITES_TO_JUDGE_BY, _HOPELESS = 3, 3.0


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
        known: What was learnt here of the base network, one and the same in all measurements.
    """

    device: str
    runtime: str | None = None
    known: KnownBase = field(default_factory=KnownBase, compare=False, repr=False)

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
            known=self.known,
        )
        return Measured(latency, peak_memory_mb(deployed, example, device), forms)

    def table(
        self,
        base: nn.Module,
        choices: Mapping[str, Sequence[Choice]],
        example: Tensor,
        limit_s: float = math.inf,
    ) -> LatencyTable | None:
        """Measure every choice at every site, layer by layer; what is in this machine's cache is taken from there.

        Args:
            base: The base network's training form.
            choices: The choices of each site, by the site's name.
            example: An input `(N, C, H, W)`, float32.
            limit_s: Seconds after which it is given up, or earlier where that is sure; what was measured by then stays
                in the cache.

        Returns:
            None where it was given up.
        """
        started = time.monotonic()

        def keep_to_limit(done: int, total: int) -> None:
            elapsed = time.monotonic() - started
            # The first sites take the longest, and later ones repeat them.
            hopeless = done >= _SITES_TO_JUDGE_BY and elapsed * total / done > _HOPELESS * limit_s
            if done < total and (elapsed > limit_s or hopeless):
                raise TimeoutError

        device = resolve_device(self.device)
        timer = LayerTimer(device, runtime=self.runtime, exclusive=device_lock(device).exclusive)
        base_s = timer.take({"base": deploy_model(base)}, example.shape)["base"]
        try:
            return build_table(base, choices, example, timer, base_s=base_s, progress=keep_to_limit)
        except TimeoutError:
            return None
