"""How big a network is: its parameters and its multiply-accumulates."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import thop
import torch
from torch import nn


@dataclass(frozen=True)
class Counts:
    """A network's size.

    Attributes:
        params: Parameters, buffers not counted.
        macs: Multiply-accumulates of one forward of one image; one MAC is two FLOPs.
    """

    params: int
    macs: int


def count(model: nn.Module, imgsz: int, channels: int = 3) -> Counts:
    """Count parameters and MACs of a network as it is given, on a copy in eval mode on the CPU.

    The MACs are thop's (https://github.com/ultralytics/thop): those of convolution, linear, normalization and pooling
    modules. A convolution called as a function (`F.conv2d`) is missed, so spnas' operators are made of modules.

    Args:
        model: The network; give the training form for the figures that spnas reports.
        imgsz: Height and width of the square input, pixels.
        channels: Channels of the input.
    """
    image = torch.zeros(1, channels, imgsz, imgsz)
    network = copy.deepcopy(model).cpu().float().eval()
    macs, params = thop.profile(network, inputs=(image,), verbose=False)
    return Counts(params=int(params), macs=int(macs))
