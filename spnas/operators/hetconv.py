"""The hetconv operator: filters with k x k kernels on a part of the channels and 1x1 kernels on the others.

Source: Singh et al., HetConv: Heterogeneous Kernel-Based Convolutions for Deep CNNs, CVPR 2019,
https://arxiv.org/abs/1903.04120
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spnas.operators.grouped import GroupedPlusPointwise, same_group
from spnas.operators.registry import register_operator


class AcrossGroups(nn.Conv2d):
    """A 1x1 convolution of each output channel over the input channels of all groups but its own.

    Only those weights are stored, `(Cout, Cin - Cin / groups, 1, 1)`, row by row in the order of the channels. They are
    put into a kernel over all channels, zero within the groups, to run as one convolution.

    Args:
        in_channels: Channels it reads.
        out_channels: Channels it writes.
        stride: Step in both directions.
        within: Whether an output and an input channel are of the same group, `(Cout, Cin)`.
    """

    across: Tensor

    def __init__(self, in_channels: int, out_channels: int, stride: int, within: Tensor) -> None:
        super().__init__(in_channels, out_channels, 1, stride, bias=False)
        self.register_buffer("across", ~within[:, :, None, None], persistent=False)
        self.weight = nn.Parameter(self.pick(self.weight.detach()))

    def pick(self, kernel: Tensor) -> Tensor:
        """Take the stored weights from a kernel `(Cout, Cin, 1, 1)`."""
        return kernel[self.across].view(self.out_channels, -1, 1, 1)

    def kernel(self) -> Tensor:
        """Give the kernel over all channels, `(Cout, Cin, 1, 1)`."""
        zeros = self.weight.new_zeros(self.across.shape)
        return zeros.masked_scatter(self.across, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        out: Tensor = self._conv_forward(x, self.kernel(), None)
        return out


@register_operator
class HetConv(GroupedPlusPointwise):
    """Heterogeneous convolution: `out = act(BN(grouped_kxk(x) + across_1x1(x)))`, both of the site's stride.

    With `P = 1 / ratio`, each filter has k x k kernels on `Cin / P` channels and 1x1 kernels on the others. The paper
    shifts the k x k kernels by one channel from filter to filter; here they are on a block of channels, which is the
    same operator with its channels in another order.

    Args:
        site: The convolution to replace.
        host: What surrounds it.
        ratio: Share of the input channels that each filter's k x k kernels read, 1/P in the paper; `1 / ratio` an
            integer of at least 2 that divides the input and the output channels.
    """

    name = "hetconv"

    def make_pointwise(self) -> nn.Conv2d:
        """Make a 1x1 over the other groups' channels."""
        site = self.site
        within = same_group(site, self.groups)
        return AcrossGroups(site.in_channels, site.out_channels, site.stride, within)

    def write_pointwise(self, weights: Tensor) -> None:
        """Set the 1x1's stored weights."""
        self.pointwise.weight.copy_(self.pointwise.pick(weights[:, :, None, None]))

    @property
    def pointwise(self) -> AcrossGroups:
        """The 1x1 convolution."""
        assert isinstance(self.sum.pointwise, AcrossGroups)
        return self.sum.pointwise

    @torch.no_grad()
    def dense_pointwise(self) -> nn.Conv2d:
        """Give a plain 1x1 with the zeros written out."""
        site = self.site
        dense = nn.Conv2d(site.in_channels, site.out_channels, 1, site.stride, bias=False)
        dense.weight = nn.Parameter(self.pointwise.kernel())
        return dense
