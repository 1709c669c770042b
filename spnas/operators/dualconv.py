"""The dualconv operator: a grouped k x k convolution plus a 1x1 over all channels.

Source: Zhong, Chen and Mian, DualConv: Dual Convolutional Kernels for Lightweight Deep Neural Networks,
IEEE TNNLS 2023, https://arxiv.org/abs/2202.07481
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from spnas.operators.grouped import GroupedPlusPointwise
from spnas.operators.registry import register_operator


@register_operator
class DualConv(GroupedPlusPointwise):
    """Dual convolution: `out = act(BN(grouped_kxk(x) + pointwise_1x1(x)))`, both of the site's stride.

    With `G = 1 / ratio` groups, each filter has a k x k and a 1x1 kernel on its own group's channels and a 1x1 kernel
    on every other channel.

    Args:
        site: The convolution to replace.
        host: What surrounds it.
        ratio: Share of the input channels that each filter's k x k kernels read, 1/G in the paper; `1 / ratio` an
            integer of at least 2 that divides the input and the output channels.
    """

    name = "dualconv"

    def make_pointwise(self) -> nn.Conv2d:
        """Make a 1x1 over all channels."""
        site = self.site
        return nn.Conv2d(site.in_channels, site.out_channels, 1, site.stride, bias=False)

    def write_pointwise(self, weights: Tensor) -> None:
        """Set the 1x1's kernel; within a group it starts at zero, because the k x k kernel is the whole one there."""
        self.sum.pointwise.weight.copy_(weights[:, :, None, None])

    def dense_pointwise(self) -> nn.Conv2d:
        """Copy the 1x1."""
        return copy.deepcopy(self.sum.pointwise)
