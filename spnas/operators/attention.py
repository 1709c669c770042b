"""What attention add-ons share: the plain convolution goes first, its output is then multiplied by an attention map."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host
from spnas.operators.blocks import inner_activation, reason_not_to_fit
from spnas.operators.folding import fold
from spnas.operators.regular import Regular


class Attention(nn.Module, ABC):
    """Maps `(N, C, H, W)` to the map that it is multiplied by, of a shape that broadcasts to it.

    The map of a fresh module is the paper's, made of sigmoids. `rest()` makes it the constant 1, for which every
    sigmoid has to be scaled by two: the constant `gain` does that, and could be absorbed by whatever layer follows.

    Attributes:
        RESTING_VALUE: The map, before the gain, when every sigmoid is 1/2.
    """

    RESTING_VALUE: ClassVar[float]
    gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(()))

    @torch.no_grad()
    def rest(self) -> None:
        """Make the map the constant 1, so that the add-on changes nothing until it is trained."""
        self.gain.fill_(1 / self.RESTING_VALUE)
        self.silence()

    @abstractmethod
    def silence(self) -> None:
        """Set the last layer before each sigmoid to zero."""

    @abstractmethod
    def deploy(self) -> nn.Module:
        """Give a new module without BatchNorms that equals this one in eval mode."""


class AddOn(Regular):
    """Multiplies the plain convolution's activated output by an attention map: `y = act(BN(conv(x)))`, `out = y A(y)`.

    Where the host applies the activation itself, `z = BN(conv(x))` and `out = z A(act(z))`: the map reads what it would
    read, and is applied one step early. For an activation with `act(a z) = a act(z)` at any `a > 0`, as ReLU and
    LeakyReLU, the host's activation then gives exactly `act(z) A(act(z))`.

    Subclasses set `attention` and take a parameter `reduction`: hidden layers have `C // reduction` channels.
    """

    attention: Attention

    def __init__(self, site: ConvSite, host: Host, **params: float) -> None:
        super().__init__(site, host, **params)
        outside = host.applies_act and host.act is not None
        self.inner_act = inner_activation(host) if outside else nn.Identity()

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse sites whose tensor changes shape, and a reduction that leaves no hidden channel."""
        reduction = params["reduction"]
        if reduction < 1 or reduction != round(reduction):
            return f"expected a reduction of 1, 2, 3, ..., got {reduction:g}"
        reason = reason_not_to_fit(site)
        if reason is None and site.out_channels < reduction:
            return (
                f"reduction {reduction:g} needs at least {reduction:g} channels, "
                f"got {site.out_channels}"
            )
        return reason

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Copy the trained convolution and its BatchNorm and let the attention rest: nothing changes in eval mode."""
        super().inherit(conv, bn)
        self.attention.rest()

    def deploy(self) -> nn.Module:
        """Give the same module with each BatchNorm folded into the convolution before it."""
        return AddOnDeployed(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        y = super().forward(x)
        out: Tensor = y * self.attention(self.inner_act(y))
        return out


class AddOnDeployed(nn.Module):
    """An attention add-on for inference: one biased convolution, then the attention without BatchNorms.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: AddOn) -> None:
        super().__init__()
        self.kxk = fold(operator.kxk, operator.bn)
        self.act = copy.deepcopy(operator.act)
        self.inner_act = copy.deepcopy(operator.inner_act)
        self.attention = operator.attention.deploy()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        y = self.act(self.kxk(x))
        out: Tensor = y * self.attention(self.inner_act(y))
        return out
