"""The gam operator: a plain convolution, then attention over channels at each pixel and over space at each channel.

Source: Liu et al., Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions, 2021,
https://arxiv.org/abs/2112.05561
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.attention import AddOn, Attention
from spnas.operators.base import Host
from spnas.operators.folding import fold
from spnas.operators.registry import register_operator

SPATIAL_KERNEL = 7


@register_operator
class GAM(AddOn):
    """Global attention after the plain convolution: `out = y Mc(y) Ms(y Mc(y))` for its activated output y.

    Where the host applies the activation itself, the maps read `act(z)` and multiply z; see `AddOn`.

    Args:
        site: The convolution to follow; as many input as output channels, stride 1.
        host: What surrounds it.
        reduction: Both maps' hidden layers have `C // reduction` channels; a positive integer.
    """

    name = "gam"

    def __init__(self, site: ConvSite, host: Host, *, reduction: float) -> None:
        super().__init__(site, host, reduction=reduction)
        self.attention = GlobalAttention(site.out_channels, int(reduction), self.norm)


class GlobalAttention(Attention):
    """The product of both maps of the paper's equations 1 and 2, for features y of shape `(N, C, H, W)`.

    `Mc(y) = sigmoid(MLP(y))`, the multilayer perceptron acting on the channels of each pixel: two 1x1 convolutions.
    `Ms(f) = sigmoid(BN(conv7x7(ReLU(BN(conv7x7(f))))))` for `f = y Mc(y)`.

    Args:
        channels: C.
        reduction: Hidden layers have `C // reduction` channels.
        norm: Makes a BatchNorm of so many channels.
    """

    RESTING_VALUE = 1 / 4

    def __init__(
        self, channels: int, reduction: int, norm: Callable[[int], nn.BatchNorm2d]
    ) -> None:
        super().__init__()
        hidden, k = channels // reduction, SPATIAL_KERNEL
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.narrow = nn.Conv2d(channels, hidden, k, padding=k // 2, bias=False)
        self.narrow_bn: nn.Module = norm(hidden)
        self.widen = nn.Conv2d(hidden, channels, k, padding=k // 2, bias=False)
        self.widen_bn: nn.Module = norm(channels)
        self.relu = nn.ReLU(inplace=True)

    def silence(self) -> None:
        """Set the perceptron's second layer and the last BatchNorm to zero."""
        for parameter in (*self.excite.parameters(), *self.widen_bn.parameters()):
            nn.init.zeros_(parameter)

    def deploy(self) -> nn.Module:
        """Fold each BatchNorm into the 7x7 convolution before it."""
        deployed = copy.deepcopy(self)
        for name in ("narrow", "widen"):
            setattr(deployed, name, fold(getattr(self, name), getattr(self, f"{name}_bn")))
            setattr(deployed, f"{name}_bn", nn.Identity())
        return deployed

    def forward(self, y: Tensor) -> Tensor:
        """Map features `(N, C, H, W)` to their attention map of the same shape."""
        by_channel = torch.sigmoid(self.excite(self.relu(self.squeeze(y))))
        hidden = self.relu(self.narrow_bn(self.narrow(y * by_channel)))
        in_space = torch.sigmoid(self.widen_bn(self.widen(hidden)))
        out: Tensor = by_channel * in_space * self.gain
        return out
