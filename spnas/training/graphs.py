"""CUDA graphs for training: a network's forward and backward captured once, then replayed without Python between.

A small network's step on a fast GPU waits for Python to launch its kernels, some 25 ms for YOLOv8n, whatever the batch.
Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#partial-network-capture
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger("spnas")

# A capture takes as long as some ten steps save, and batches come in two sizes: shorter trainings are not worth it.
_WORTH_STEPS = 40
_EAGER_STEPS, _WARM_UP = 1, 1  # so that nothing is set up within a capture


@contextlib.contextmanager
def replayed(model: nn.Module, steps: int) -> Iterator[None]:
    """Have a model that trains on CUDA replay its forward and backward as graphs, one for each shape of its input.

    What is captured must not depend on the values of the input; a network that does so trains as it would without.
    On other devices, in short trainings and in eval mode nothing changes.

    Args:
        model: Called with one tensor `(N, C, H, W)`.
        steps: Training steps to come.
    """
    if steps < _WORTH_STEPS or next(model.parameters()).device.type != "cuda":
        yield
        return
    eager = model.forward
    object.__setattr__(model, "forward", _Replayed(model, eager))
    # Gradients come from the stream of the capture, and are waited for, as they should be.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        yield
    finally:
        object.__delattr__(model, "forward")
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(True)
        gc.collect()  # what torch makes around a graph is a cycle, and holds all of its memory
        # cuBLAS keeps a workspace for each stream it has seen, and every capture warms up on another one. Of a device
        # that has failed nothing can be freed; that is told elsewhere.
        with contextlib.suppress(RuntimeError, AttributeError):  # nor is it a public function
            torch._C._cuda_clearCublasWorkspaces()


class _Replayed:
    """Takes the place of a model's `forward`.

    Args:
        model: The model.
        eager: Its own forward.
    """

    def __init__(self, model: nn.Module, eager: Callable[..., Any]) -> None:
        self._model, self._eager = model, eager
        self._seen: Counter[torch.Size] = Counter()
        self._graphs: dict[torch.Size, Callable[..., Any]] = {}
        self._pool = torch.cuda.graph_pool_handle()  # shared: a step is over when the next begins
        self._possible = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model's forward on an image batch; another call than that is none of ours."""
        if not self._trains(args, kwargs):
            return self._eager(*args, **kwargs)
        image: Tensor = args[0]
        self._seen[image.shape] += 1
        if self._possible and self._seen[image.shape] == _EAGER_STEPS + 1:
            self._capture(image)
        return self._graphs.get(image.shape, self._eager)(image)

    def _trains(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        return alone and self._model.training and torch.is_grad_enabled()

    def _capture(self, image: Tensor) -> None:
        """Capture a step's forward and backward where that is possible, and the memory for it is there."""
        model, reason = self._model, None
        object.__setattr__(model, "forward", self._eager)
        try:
            with _capturing(image.device):
                torch.cuda.make_graphed_callables(
                    model, (image.clone(),), num_warmup_iters=_WARM_UP, pool=self._pool
                )
            self._graphs[image.shape] = model.forward
        except Exception as error:  # whatever a network of others' making raises
            reason = str(error).partition("\n")[0]
        finally:
            object.__setattr__(model, "forward", self)
        if reason is not None:
            self._possible = False
            gc.collect()
            torch.cuda.empty_cache()
            logger.warning("training goes on without CUDA graphs: %s", reason)


@contextlib.contextmanager
def _capturing(device: torch.device) -> Iterator[None]:
    """Capture on the model's device; a capture that fails leaves its stream behind, which is put back.

    Nodes that an earlier shape's graph holds are on the stream of that one's capture, and move to this one's.
    """
    torch.autograd.graph.set_override_stale_capture_stream(True)
    try:
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            yield
    finally:
        torch.autograd.graph.set_override_stale_capture_stream(False)
