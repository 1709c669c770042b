"""1x1 convolutions that torch would compute without oneDNN on one CPU thread, sent there all the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# ATen's `ConvParams::use_mkldnn`: on one thread a 1x1 convolution of fewer than 16 images goes to oneDNN only where it
# has strides or dilations, and anything smaller than this, numbers in the input, never does.
# https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/Convolution.cpp
_FEW_IMAGES, _SMALL_INPUT = 16, 20_480


@torch.no_grad()
def route_pointwise(network: nn.Module, example: Tensor) -> None:
    """Give a network's 1x1 convolutions a dilation, in place, where that makes torch use oneDNN.

    A dilation means nothing to a single tap, but oneDNN takes half the time of the matrix product that torch would take
    instead. Results are those of before up to rounding, for inputs of any size.

    Args:
        network: In eval mode, float32 on the CPU, to be run on one thread.
        example: An input `(N, C, H, W)` such as it will get.
    """

    def route(conv: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        images = inputs[0]
        if len(images) < _FEW_IMAGES and images.numel() > _SMALL_INPUT:
            conv.dilation = (2, 2)

    hooks = [
        module.register_forward_pre_hook(route)
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and _is_pointwise(module)
    ]
    try:
        network(example)
    finally:
        for hook in hooks:
            hook.remove()


def _is_pointwise(conv: nn.Conv2d) -> bool:
    alone = conv.stride == (1, 1) and conv.padding in ((0, 0), 0) and conv.groups == 1
    return conv.kernel_size == (1, 1) and alone
