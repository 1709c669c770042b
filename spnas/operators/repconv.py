"""The repconv operator: parallel k x k, 1x1 and identity branches that deploy to one k x k convolution.

Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, https://arxiv.org/abs/2101.03697
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold_branches
from spnas.operators.geometry import off_centre
from spnas.operators.inheritance import output_norm
from spnas.operators.registry import register_operator


@register_operator
class RepConv(Operator):
    """RepVGG's block: `out = act(BN_k(conv_kxk(x)) + BN_1(conv_1x1(x)) + BN_0(x))`.

    The identity branch `BN_0(x)` is there where the stride is 1 and as many channels go out as come in. Each branch has
    a BatchNorm of its own, so the host's is not needed. The paper's k is 3; any odd kernel deploys alike.

    Args:
        site: The convolution to replace.
        host: What surrounds it.
    """

    name = "repconv"

    def __init__(self, site: ConvSite, host: Host) -> None:
        super().__init__(site, host)
        c_in, c_out = site.in_channels, site.out_channels
        self.kxk = nn.Conv2d(
            c_in,
            c_out,
            site.kernel_size,
            site.stride,
            site.padding,
            site.dilation,
            bias=False,
        )
        self.bn_kxk = self.norm(c_out)
        self.pointwise = nn.Conv2d(c_in, c_out, 1, site.stride, bias=False)
        self.bn_pointwise = self.norm(c_out)
        has_identity = site.stride == 1 and c_in == c_out
        self.bn_identity = self.norm(c_out) if has_identity else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse kernels that have no centre tap on the pixels that the 1x1 reads."""
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Copy the plain convolution into the k x k branch; the other branches begin at zero, and nothing changes.

        Their BatchNorms have weight zero, which stays zero in batch statistics as well. The first step moves those
        weights, and from then on the 1x1 kernel too.
        """
        self.kxk.weight.copy_(conv.weight)
        output_norm(conv, bn).write(self.bn_kxk)
        for norm in (self.bn_pointwise, self.bn_identity):
            if norm is not None:
                norm.reset_running_stats()
                norm.weight.zero_()
                norm.bias.zero_()

    def deploy(self) -> nn.Module:
        """Give one biased k x k convolution, the sum of the branches, and the activation."""
        pointwise = self.pointwise, self.bn_pointwise
        merged = fold_branches((self.kxk, self.bn_kxk), pointwise, self.bn_identity)
        return nn.Sequential(merged, copy.deepcopy(self.act)).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.bn_kxk(self.kxk(x)) + self.bn_pointwise(self.pointwise(x))
        if self.bn_identity is not None:
            y = y + self.bn_identity(x)
        out: Tensor = self.act(y)
        return out
