"""The session that all runtimes open: it copies a network, has the runtime deploy it, checks its output, times it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spnas.latency.runtimes.base import Sampler
from spnas.latency.runtimes.clocks import Clock, Forward
from spnas.latency.runtimes.output_check import check_output, effective_dtype, expect

# Makes a network ready to run on an input: both in float32 on the CPU, the network in eval mode and free to be changed.
# The forward gives the output as tensors or arrays.
Prepare = Callable[[nn.Module, Tensor], Forward]


@dataclass(frozen=True)
class DeployedSession:
    """A device made ready for measuring.

    Attributes:
        runtime: The runtime's name.
        device: Where networks run.
        dtype: Type of the numbers that they are run in.
        timer: The clock for ratios.
        prepare: What the runtime does with a network.
    """

    runtime: str
    device: torch.device
    dtype: torch.dtype
    timer: Clock
    prepare: Prepare

    @property
    def clock(self) -> str:
        """The name of the clock for ratios."""
        return self.timer.name

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Deploy the network in the runtime, check its output against torch's in float32, and make it ready.

        Raises:
            SpnasError: The network gives another output in the runtime.
        """
        image = example.detach().cpu().float()
        network = inference_copy(model)
        dtype = effective_dtype(self.dtype, self.device)
        expected = expect(network, image, dtype, self.device)
        with torch.inference_mode():
            forward = self.prepare(network, image)
            off = check_output(self.runtime, forward(), expected)
        return Sampler(torch.inference_mode()(lambda n: self.timer.sample(forward, n)), off)


def inference_copy(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU in eval mode; heads with an `export` switch (Ultralytics') give one deployed output."""
    network = copy.deepcopy(model).cpu().eval()
    for module in network.modules():
        if hasattr(module, "export"):
            setattr(module, "export", True)  # noqa: B010 - nn.Module's attributes are typed as tensors or modules
    return network
