"""Peak memory of one forward: a network's weights, its input and the tensors alive at the same time."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

_MB = 1e6


def peak_memory_mb(model: nn.Module, example: Tensor, device: torch.device) -> float:
    """Give the peak memory of one forward of a deployed network, in MB (1e6 bytes): weights, input, live tensors.

    On CUDA what the allocator gave out at most, workspaces of the kernels included. Elsewhere the tensors are counted
    on the CPU as torch makes and drops them: the same figure on any machine, without what a kernel needs inside itself.

    Args:
        model: The deployed form; runs in eval mode on a copy.
        example: An input `(N, C, H, W)`.
        device: Where the network is deployed.
    """
    if device.type == "cuda":
        return _allocated(model, example, device) / _MB
    network = copy.deepcopy(model).cpu().eval()
    image = example.to("cpu", copy=True)
    held = _LiveStorages()
    for tensor in (image, *network.parameters(), *network.buffers()):
        held.add(tensor)
    with torch.inference_mode(), held:
        network(image)
    return held.peak / _MB


@torch.inference_mode()
def _allocated(model: nn.Module, example: Tensor, device: torch.device) -> int:
    """Give the most bytes allocated for the network, its input and a forward; what was there before is not counted."""
    before = torch.cuda.memory_allocated(device)
    network = copy.deepcopy(model).to(device).eval()
    image = example.to(device, copy=True)
    network(image)  # libraries allocate what they keep at their first call
    torch.cuda.reset_peak_memory_stats(device)
    network(image)
    return torch.cuda.max_memory_allocated(device) - before


class _LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensor storages made while it is on, from their making to their end.

    Views and in-place results share a storage, which counts once.

    Attributes:
        peak: Most bytes held at the same time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._held: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._held:
            self._held[key] = storage.nbytes()
            weakref.finalize(storage, self._held.pop, key)
            self.peak = max(self.peak, sum(self._held.values()))

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self.add(tensor)
        return result


def _tensors(result: Any) -> Iterator[Tensor]:
    return (item for item in tree_iter(result) if isinstance(item, Tensor))
