"""Count a forward's operations by the rule of the SPConv paper's tables, from what torch executes.

The rule is that of thop as it was when the paper appeared (2020). The counter reads the tensor operations that reach
torch's dispatcher, so it depends neither on spnas' operators nor on the modules a network is made of, and operations
called as functions count like those of modules. An operation it does not know is an error, not a zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten

# Element-wise, softmax, maximum and reshaping: nothing under the rule.
FREE = {
    aten.add.Tensor,
    aten.add_.Tensor,
    aten.alias.default,
    aten.detach.default,
    aten.div.Tensor,
    aten.empty.memory_format,
    aten.lerp.Tensor,
    aten.max_pool2d_with_indices.default,
    aten.mul.Tensor,
    aten.relu.default,
    aten.relu_.default,
    aten.rsub.Scalar,
    aten.select.int,
    aten.sigmoid.default,
    aten.slice.Tensor,
    aten._softmax.default,
    aten.split_with_sizes.default,
    aten.stack.default,
    aten.sub.Tensor,
    aten.t.default,
    aten.view.default,
    aten._unsafe_view.default,
}


@dataclass
class PaperCounts:
    """What a forward of one image costs.

    Attributes:
        paper: Operations under the paper's rule, where a multiply-accumulate of a convolution is one, and that of a
            linear layer two.
        macs: Multiply-accumulates of convolutions and linear layers alone.
    """

    paper: int = 0
    macs: int = 0


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts = PaperCounts()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in RULES:
            paper, macs = RULES[func](args, out)
            self.counts.paper += paper
            self.counts.macs += macs
        elif func not in FREE:
            raise NotImplementedError(f"the counting rule does not know {func}")
        return out


def _convolution(args: Any, out: Tensor) -> tuple[int, int]:
    """One for each multiply-accumulate, and one for each output number that a bias is added to."""
    weight, bias = args[1], args[2]
    macs = out.numel() * weight[0].numel()
    return macs + (out.numel() if bias is not None else 0), macs


def _linear(args: Any, out: Tensor) -> tuple[int, int]:
    """Two for each multiply-accumulate, nothing for the bias."""
    macs = args[1].numel() * args[2].shape[1]
    return 2 * macs, macs


def _batchnorm(args: Any, out: tuple[Tensor, ...]) -> tuple[int, int]:
    """Four for each number."""
    return 4 * out[0].numel(), 0


def _average_pool(args: Any, out: Tensor) -> tuple[int, int]:
    """One more than the kernel's side for each output number: so it was written, and so the tables count."""
    return (args[1][0] + 1) * out.numel(), 0


def _mean(args: Any, out: Tensor) -> tuple[int, int]:
    """A sum over the image and a division for each output number."""
    assert sorted(dim % args[0].dim() for dim in args[1]) == [2, 3]
    return (math.prod(args[0].shape[2:]) + 1) * out.numel(), 0


RULES: Mapping[Any, Callable[[Any, Any], tuple[int, int]]] = {
    aten.convolution.default: _convolution,
    aten.addmm.default: _linear,
    aten.native_batch_norm.default: _batchnorm,
    aten.avg_pool2d.default: _average_pool,
    aten.mean.dim: _mean,  # adaptive average pooling to one pixel is a mean too
}


def paper_count(model: nn.Module, imgsz: int) -> PaperCounts:
    """Count one forward of one image in eval mode; changes the model to that mode."""
    image = torch.zeros(1, 3, imgsz, imgsz)
    with torch.no_grad(), _Counter() as counter:
        model.eval()(image)
    return counter.counts
