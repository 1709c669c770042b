"""The senetv2 operator: a plain convolution, then channel attention by a multi-branch dense layer.

Source: Narayanan, SENetV2: Aggregated dense layer for channelwise and global representations, 2023,
https://arxiv.org/abs/2311.10807
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.attention import AddOn, Attention
from spnas.operators.base import Host
from spnas.operators.registry import register_operator

BRANCHES = 4  # the paper's cardinality


@register_operator
class SENetV2(AddOn):
    """Squeeze aggregated excitation after the plain convolution: `out = y A(y)` for its activated output y.

    Where the host applies the activation itself, the map reads `act(z)` and multiplies z; see `AddOn`.

    Args:
        site: The convolution to follow; as many input as output channels, stride 1.
        host: What surrounds it.
        reduction: Each of the four branches has `C // reduction` channels; a positive integer.
    """

    name = "senetv2"

    def __init__(self, site: ConvSite, host: Host, *, reduction: float) -> None:
        super().__init__(site, host, reduction=reduction)
        self.attention = AggregatedExcitation(site.out_channels, int(reduction))


class AggregatedExcitation(Attention):
    """Channel attention `A(y) = sigmoid(FC(concat(ReLU(FC_1(s)), ..., ReLU(FC_4(s)))))` with `s = GAP(y)`.

    Four dense layers side by side that all read s, concatenated, are one dense layer four times as wide; so they are
    one module here, a 1x1 convolution of a single pixel.

    Args:
        channels: C.
        reduction: Each branch has `C // reduction` channels.
    """

    RESTING_VALUE = 1 / 2

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        aggregated = BRANCHES * (channels // reduction)
        self.squeeze = nn.Conv2d(channels, aggregated, 1)
        self.excite = nn.Conv2d(aggregated, channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def silence(self) -> None:
        """Set the last dense layer to zero."""
        for parameter in self.excite.parameters():
            nn.init.zeros_(parameter)

    def deploy(self) -> nn.Module:
        """Copy the module: it has no BatchNorm."""
        return copy.deepcopy(self)

    def forward(self, y: Tensor) -> Tensor:
        """Map features `(N, C, H, W)` to the weights of their channels, `(N, C, 1, 1)`."""
        squeezed = y.mean((2, 3), keepdim=True)
        out: Tensor = torch.sigmoid(self.excite(self.relu(self.squeeze(squeezed)))) * self.gain
        return out
