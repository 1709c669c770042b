"""The regular operator: the plain convolution itself."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold
from spnas.operators.inheritance import output_norm
from spnas.operators.registry import register_operator


@register_operator
class Regular(Operator):
    """A plain convolution, its BatchNorm where the host has one, and the activation.

    A base network keeps its own layers at regular sites; this class is the same thing as an operator, for comparing
    operators with each other and for building one alone.

    Args:
        site: The convolution to replace; any.
        host: What surrounds it.
        params: Parameters of a subclass that adds something to the convolution; this class has none.
    """

    name = "regular"

    def __init__(self, site: ConvSite, host: Host, **params: float) -> None:
        super().__init__(site, host, **params)
        self.kxk = nn.Conv2d(
            site.in_channels,
            site.out_channels,
            site.kernel_size,
            site.stride,
            site.padding,
            site.dilation,
            bias=not host.bn,
        )
        self.bn = self.norm(site.out_channels) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Take every site."""
        return None

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Copy the trained convolution and its BatchNorm, running statistics too: nothing changes in eval mode."""
        norm = output_norm(conv, bn)
        self.kxk.weight.copy_(conv.weight)
        if self.kxk.bias is not None:
            self.kxk.bias.copy_(norm.bias)
        if self.bn is not None:
            norm.write(self.bn)

    def deploy(self) -> nn.Module:
        """Give one biased convolution and the activation."""
        return nn.Sequential(fold(self.kxk, self.bn), copy.deepcopy(self.act)).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.kxk(x)
        out: Tensor = self.act(y if self.bn is None else self.bn(y))
        return out
