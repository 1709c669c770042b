"""What hetconv and dualconv share: a grouped k x k convolution plus a 1x1 that reads across the groups."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold, merge_pointwise
from spnas.operators.geometry import off_centre, one_over
from spnas.operators.inheritance import output_norm
from spnas.operators.least_squares import fit_grouped, level, plain_output
from spnas.operators.smoothness import centre_taps, shrunk, whitened_taps


class Sum(nn.Module):
    """Two convolutions of the same input, added.

    Args:
        grouped: The k x k convolution.
        pointwise: The 1x1 convolution.
    """

    def __init__(self, grouped: nn.Conv2d, pointwise: nn.Conv2d) -> None:
        super().__init__()
        self.grouped = grouped
        self.pointwise = pointwise

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        out: Tensor = self.grouped(x) + self.pointwise(x)
        return out


class GroupedPlusPointwise(Operator):
    """`out = act(BN(grouped_kxk(x) + pointwise_1x1(x)))`, both of the site's stride, `1 / ratio` groups.

    Args:
        site: The convolution to replace.
        host: What surrounds it.
        ratio: Share of the input channels that each k x k filter reads; `1 / ratio` an integer of at least 2 that
            divides the input and the output channels.
    """

    form = "split"

    def __init__(self, site: ConvSite, host: Host, *, ratio: float) -> None:
        super().__init__(site, host, ratio=ratio)
        self.groups = round(1 / ratio)
        grouped = nn.Conv2d(
            site.in_channels,
            site.out_channels,
            site.kernel_size,
            site.stride,
            site.padding,
            site.dilation,
            groups=self.groups,
            bias=not host.bn,
        )
        self.sum = Sum(grouped, self.make_pointwise())
        self.bn_out = self.norm(site.out_channels) if host.bn else None

    @abstractmethod
    def make_pointwise(self) -> nn.Conv2d:
        """Make the 1x1 convolution, without a bias."""

    @abstractmethod
    def write_pointwise(self, weights: Tensor) -> None:
        """Set the 1x1's kernel to weights `(Cout, Cin)` that are zero between channels of the same group."""

    @abstractmethod
    def dense_pointwise(self) -> nn.Conv2d:
        """Give the 1x1 as a plain convolution of its own."""

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse a ratio other than 1/2, 1/3, ..., channel counts it does not divide, and off-centre kernels."""
        ratio = params["ratio"]
        groups = one_over(ratio)
        if groups is None:
            return f"expected a ratio of 1/2, 1/3, 1/4, ..., got {ratio:g}"
        if site.in_channels % groups or site.out_channels % groups:
            return (
                f"ratio {ratio:g} needs channel counts that {groups} divides, "
                f"got {site.in_channels} -> {site.out_channels}"
            )
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Keep the kernels within each group; across groups read the centre pixel."""
        taps, _ = whitened_taps(conv)
        weights = centre_taps(conv)
        within = same_group(self.site, self.groups).to(weights.device)
        explained = torch.where(within, taps.square().sum(2), weights.square()).sum(1)
        self.write_pointwise(weights.masked_fill(within, 0))
        kept = [
            rows.chunk(self.groups, 1)[group]
            for group, rows in enumerate(conv.weight.chunk(self.groups))
        ]
        self.sum.grouped.weight.copy_(torch.cat(kept))
        norm = output_norm(conv, bn)
        if self.sum.grouped.bias is not None:
            self.sum.grouped.bias.copy_(norm.bias)
        if self.bn_out is not None:
            shrunk(norm, explained, taps.square().sum((1, 2))).write(self.bn_out)

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Regress the plain output on each group's pixels and the other groups' centre pixels."""
        targets = plain_output(conv, bn, inputs)
        centres = inputs[:, :, :: self.site.stride, :: self.site.stride]
        self.write_pointwise(fit_grouped(self.sum.grouped, inputs, centres, targets))
        if self.sum.grouped.bias is not None:
            self.sum.grouped.bias.zero_()
        level(self.bn_out, self.sum.grouped, self.sum(inputs), targets)

    def forms(self, shape: Sequence[int]) -> tuple[str, ...]:
        """Both apply everywhere."""
        return "split", "dense"

    def deploy(self) -> nn.Module:
        """Give both convolutions with the BatchNorm folded into them, or one dense convolution; and the activation."""
        grouped = fold(self.sum.grouped, self.bn_out)
        pointwise = fold(self.dense_pointwise(), self.bn_out)
        act = copy.deepcopy(self.act)
        if self.form == "dense":
            pointwise.bias = grouped.bias
            return nn.Sequential(merge_pointwise(grouped, pointwise), act).eval()
        pointwise.bias = None  # the same shift as in the grouped convolution's bias, needed once
        return nn.Sequential(Sum(grouped, pointwise), act).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.sum(x)
        out: Tensor = self.act(y if self.bn_out is None else self.bn_out(y))
        return out


def same_group(site: ConvSite, groups: int) -> Tensor:
    """Tell for each output and input channel whether they are of the same group, `(Cout, Cin)`."""
    of_out, of_in = (
        torch.arange(count) // (count // groups) for count in (site.out_channels, site.in_channels)
    )
    return of_out[:, None] == of_in
