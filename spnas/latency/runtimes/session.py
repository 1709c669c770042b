"""The session that all runtimes open: it copies a network, has the runtime deploy it, checks its output, times it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spnas.errors import SpnasError
from spnas.latency.runtimes.base import Sampler
from spnas.latency.runtimes.clocks import Clock, Forward
from spnas.latency.runtimes.output_check import Expected, check_output, effective_dtype, expect

# Gives a network in the format that the runtime reads: it and an input are in float32 on the CPU, in eval mode.
Convert = Callable[[nn.Module, Tensor], Any]
# Makes a network ready to run on an input: what `Convert` gave, else the network itself, then free to be changed.
# The forward gives the output as tensors or arrays.
Prepare = Callable[[Any, Tensor], Forward]


@dataclass(frozen=True)
class Converted:
    """A network as a session opens it.

    Attributes:
        network: What the runtime makes ready.
        image: The input that it is made ready for, float32 on the CPU.
        expected: What it is to give for that.
    """

    network: Any
    image: Tensor
    expected: Expected


@dataclass(frozen=True)
class DeployedSession:
    """A device made ready for measuring.

    Attributes:
        runtime: The runtime's name.
        device: Where networks run.
        dtype: Type of the numbers that they are run in.
        timer: The clock for ratios.
        prepare: What the runtime does with a network.
        convert: What is done before that once, where the result may be opened again and again: a file format.
    """

    runtime: str
    device: torch.device
    dtype: torch.dtype
    timer: Clock
    prepare: Prepare
    convert: Convert | None = None

    @property
    def clock(self) -> str:
        """The name of the clock for ratios."""
        return self.timer.name

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        """Deploy the network in the runtime, check its output against torch's in float32, and make it ready.

        Raises:
            SpnasError: The runtime cannot run the network, or gives another output.
        """
        return self.open(self.converted(model, example))

    def converted(self, model: nn.Module, example: Tensor) -> Converted:
        """Do the part of `load` that need not be done again for the same network, where there is a `convert`."""
        image = example.detach().cpu().float()
        network = inference_copy(model)
        expected = expect(network, image, effective_dtype(self.dtype, self.device), self.device)
        if self.convert is None:
            return Converted(network, image, expected)
        with torch.inference_mode(), self._told():
            return Converted(self.convert(network, image), image, expected)

    def open(self, found: Converted) -> Sampler:
        """Do the rest of `load`.

        Raises:
            SpnasError: The runtime cannot run the network, or gives another output.
        """
        with torch.inference_mode():
            with self._told():
                forward = self.prepare(found.network, found.image)
                output = forward()
            off = check_output(self.runtime, output, found.expected)
        return Sampler(torch.inference_mode()(lambda n: self.timer.sample(forward, n)), off)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell in a line what a runtime cannot run; whatever it raises, but that of a device that is lost."""
        try:
            yield
        except (SpnasError, torch.AcceleratorError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SpnasError(
                f"the runtime {self.runtime} cannot run the network: {reason}"
            ) from error


def inference_copy(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU in eval mode; heads with an `export` switch (Ultralytics') give one deployed output."""
    network = copy.deepcopy(model).cpu().eval()
    for module in network.modules():
        if hasattr(module, "export"):
            setattr(module, "export", True)  # noqa: B010 - nn.Module's attributes are typed as tensors or modules
    return network
