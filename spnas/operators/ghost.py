"""The ghost operator: a few channels by convolution, the others by cheap depthwise maps of those.

Source: Han et al., GhostNet: More Features from Cheap Operations, CVPR 2020, https://arxiv.org/abs/1911.11907
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.blocks import inner_activation
from spnas.operators.folding import fold
from spnas.operators.geometry import one_over
from spnas.operators.inheritance import output_norm
from spnas.operators.least_squares import (
    PixelSample,
    match_statistics,
    plain_output,
    regress,
)
from spnas.operators.registry import register_operator

CHEAP_KERNEL = 3
_CHEAP_PIXELS = 2048  # of a regression on so few taps


@register_operator
class Ghost(Operator):
    """Ghost module: `out = act(concat(p, BN(depthwise(act(p)))))[:, :Cout]` with `p = BN(conv(x))`.

    With `r = 1 / ratio`, the primary k x k convolution makes `m = ceil(Cout / r)` channels and the depthwise 3x3 makes
    `m (r - 1)` more. Both parts have a BatchNorm of their own, so the host's is not needed. The activation is applied
    to each part once, also where the host applies the outer one: any activation is therefore exact.

    Args:
        site: The convolution to replace.
        host: What surrounds it.
        ratio: Share of the output channels that the k x k convolution makes; `1 / ratio` an integer of at least 2.
    """

    name = "ghost"
    form = "repeat"

    def __init__(self, site: ConvSite, host: Host, *, ratio: float) -> None:
        super().__init__(site, host, ratio=ratio)
        expansion = round(1 / ratio)
        made = math.ceil(site.out_channels / expansion)
        self.cheap_each = expansion - 1  # filters that read a primary map
        self.cheap_outputs = site.out_channels - made  # the others are cut off
        cheap = made * self.cheap_each
        self.primary = nn.Conv2d(
            site.in_channels,
            made,
            site.kernel_size,
            site.stride,
            site.padding,
            site.dilation,
            bias=False,
        )
        self.primary_bn = self.norm(made)
        # Never in place: its input is an output too.
        self.inner_act = inner_activation(host, nn.Identity())
        # Each of its channels has a map of its own, see `_cheap_maps`.
        self.cheap = nn.Conv2d(
            cheap, cheap, CHEAP_KERNEL, padding=CHEAP_KERNEL // 2, groups=cheap, bias=False
        )
        self.cheap_bn = self.norm(cheap)

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse a ratio that is not one over an integer, and fewer output channels than that integer."""
        ratio = params["ratio"]
        expansion = one_over(ratio)
        if expansion is None:
            return f"expected a ratio of 1/2, 1/3, 1/4, ..., got {ratio:g}"
        if site.out_channels < expansion:
            return (
                f"ratio {ratio:g} needs at least {expansion} output channels, "
                f"got {site.out_channels}"
            )
        return None

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Keep the first filters; start each cheap map as the best multiple of the primary map it reads.

        The cheap BatchNorm undoes the multiple's size, so its sign is kept in the kernel and its share of the target
        channel's variation, the cosine of the two filters, in the BatchNorm's weight.
        """
        made = self.primary.out_channels
        norm = output_norm(conv, bn)
        self.primary.weight.copy_(conv.weight[:made])
        norm[:made].write(self.primary_bn)
        targets = torch.arange(made, self.site.out_channels)
        sources = (targets - made) // self.cheap_each
        likeness = _cosine(conv.weight.flatten(1), targets, sources)
        centre, used = CHEAP_KERNEL // 2, len(targets)
        self.cheap.weight[:used] = 0
        self.cheap.weight[:used, 0, centre, centre] = torch.where(likeness < 0, -1.0, 1.0)
        self.cheap_bn.reset_running_stats()
        self.cheap_bn.weight[:used] = norm.weight[targets] * likeness.abs()
        self.cheap_bn.bias[:used] = norm.bias[targets]

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Keep the first filters; regress each other channel on the 3x3 pixels of the map that its filter reads."""
        self.inherit(conv, bn)
        made, used = self.primary.out_channels, self.cheap_outputs
        plain = plain_output(conv, bn, inputs)
        maps, targets = self.inner_act(plain[:, :made]), plain[:, made:]
        pixels = PixelSample.of(targets, _CHEAP_PIXELS)
        sources = torch.arange(used) // self.cheap_each
        patches = pixels.patches(maps, self.cheap).transpose(0, 1)[sources]  # (used, P, taps)
        weights = regress(patches, pixels.values(targets).T[:, :, None])
        self.cheap.weight[:used] = weights.view(used, 1, CHEAP_KERNEL, CHEAP_KERNEL)
        match_statistics(self.cheap_bn, self._cheap_maps(maps))
        self.cheap_bn.bias[:used] = targets.mean((0, 2, 3))

    def forms(self, shape: Sequence[int]) -> tuple[str, ...]:
        """Name both where a primary map is read by several cheap filters."""
        return tuple(FORMS) if self.cheap_each > 1 else (self.form,)

    def deploy(self) -> nn.Module:
        """Give the same module with each BatchNorm folded into the convolution before it, in the form that is set."""
        return FORMS[self.form](self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        made = self.primary_bn(self.primary(x))
        inner = self.inner_act(made)
        cheap = self.act(self.cheap_bn(self._cheap_maps(inner)))
        first = made if self.host.applies_act else inner
        return torch.cat([first, cheap], 1)[:, : self.site.out_channels]

    def _cheap_maps(self, inner: Tensor) -> Tensor:
        """Apply the cheap filters, each primary map repeated for those that read it.

        Depthwise convolutions with more than one output for an input take twice as long on a CPU.
        """
        each = self.cheap_each
        maps: Tensor = self.cheap(inner if each == 1 else inner.repeat_interleave(each, 1))
        return maps


class GhostDeployed(nn.Module, ABC):
    """A ghost operator for inference: two biased convolutions.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: Ghost) -> None:
        super().__init__()
        self.primary = fold(operator.primary, operator.primary_bn)
        self.inner_act = copy.deepcopy(operator.inner_act)
        self.act = copy.deepcopy(operator.act)
        self.host_applies_act = operator.host.applies_act

    @abstractmethod
    def cheap_maps(self, inner: Tensor) -> Tensor:
        """Give the outputs after the primary ones, `(N, Cout - m, H', W')`, from the primary maps, activated."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        made = self.primary(x)
        inner = self.inner_act(made)
        first = made if self.host_applies_act else inner
        return torch.cat([first, self.act(self.cheap_maps(inner))], 1)


class Repeat(GhostDeployed):
    """Each primary map is repeated for the filters that read it, and those that would be cut off are left out."""

    def __init__(self, operator: Ghost) -> None:
        super().__init__(operator)
        made, used = operator.primary.out_channels, operator.cheap_outputs
        self.cheap = fold(operator.cheap, operator.cheap_bn)
        self.cheap.in_channels = self.cheap.out_channels = self.cheap.groups = used
        for parameter in self.cheap.parameters():
            parameter.data = parameter.data[:used].clone()
        self.sources: Tensor | None
        sources = torch.arange(used, device=self.cheap.weight.device) // operator.cheap_each
        itself = operator.cheap_each == 1 and used == made
        self.register_buffer("sources", None if itself else sources)

    def cheap_maps(self, inner: Tensor) -> Tensor:
        """Repeat the maps and apply the filters."""
        maps: Tensor = self.cheap(
            inner if self.sources is None else inner.index_select(1, self.sources)
        )
        return maps


class Multiplier(GhostDeployed):
    """The depthwise convolution has several outputs for each primary map; those that are too many are cut off."""

    def __init__(self, operator: Ghost) -> None:
        super().__init__(operator)
        self.outputs = operator.cheap_outputs
        self.cheap = fold(operator.cheap, operator.cheap_bn)
        self.cheap.in_channels = self.cheap.groups = operator.primary.out_channels

    def cheap_maps(self, inner: Tensor) -> Tensor:
        """Apply the filters."""
        maps: Tensor = self.cheap(inner)
        # A slice of all is a copy in ONNX Runtime.
        return maps if self.outputs == self.cheap.out_channels else maps[:, : self.outputs]


# By name, the default first.
FORMS: dict[str, type[GhostDeployed]] = {"repeat": Repeat, "multiplier": Multiplier}


def _cosine(filters: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Give the cosine between pairs of rows of `filters`, zero where one of the two is zero."""
    return nn.functional.cosine_similarity(filters[first], filters[second], dim=1)
