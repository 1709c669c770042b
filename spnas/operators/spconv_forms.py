"""The deployed forms of SPConv: one function, computed in several ways.

In each of them every BatchNorm is folded. The gates sum to one, so the host's BatchNorm folds into both branches; the
gate's argument is divided by its scale.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as torch's documentation has it

from spnas.operators.folding import fold, merge_pointwise, scale

if TYPE_CHECKING:
    from spnas.operators.spconv import SPConv

# Host scales below this (half precision's smallest number) count as zero in the deployed gate: the gate then weighs two
# branches that differ by less than this times their difference before the host's BatchNorm.
_ZERO_SCALE = 6e-8


class SPConvDeployed(nn.Module, ABC):
    """An SPConv operator for inference.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: SPConv) -> None:
        super().__init__()
        self.split = operator.split
        self.pool = copy.deepcopy(operator.pool)
        self.pw = fold(operator.pw, operator.bn_u, operator.bn)
        self.act = copy.deepcopy(operator.act)
        self.gate_scale: Tensor | None
        self.register_buffer("gate_scale", _gate_scale(operator.bn))

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""

    def gate(self, mean_yr: Tensor, mean_yu: Tensor) -> Tensor:
        """Give the share of yr, `(N, Cout, 1, 1)`, from both branches' means."""
        return self.share(mean_yr - mean_yu)

    def share(self, difference: Tensor) -> Tensor:
        """Give the share of yr, `(N, Cout, 1, 1)`, from the difference of both branches' means."""
        return torch.sigmoid(
            difference if self.gate_scale is None else difference / self.gate_scale
        )


class _Apart(SPConvDeployed):
    """The grouped convolution and its 1x1 kept apart."""

    def __init__(self, operator: SPConv) -> None:
        super().__init__(operator)
        self.pwc = fold(operator.pwc, operator.bn_r, operator.bn)
        self.gwc = fold(operator.gwc, operator.bn_r, operator.bn)
        self.gwc.bias = None  # the same shift as in pwc's bias, needed once


class Split(_Apart):
    """Three convolutions; the mean of the 1x1 on u is taken as the 1x1 of the mean."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        r, u = x[:, : self.split], self.pool(x[:, self.split :])
        yr = self.gwc(r).add_(self.pwc(self.pool(r)))
        gate = self.gate(_mean(yr), _of_mean(self.pw, u))
        out: Tensor = self.act(_blend(yr, self.pw(u), gate))
        return out


class OutputGate(_Apart):
    """Three convolutions; both means are taken of the outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        r, u = x[:, : self.split], self.pool(x[:, self.split :])
        yr, yu = self.gwc(r).add_(self.pwc(self.pool(r))), self.pw(u)
        out: Tensor = self.act(_blend(yr, yu, self.gate(_mean(yr), _mean(yu))))
        return out


class GateFirst(_Apart):
    """Two convolutions whose weights the gates scale, for batch 1 and stride 1.

    The mean of a convolution's output needs of its input only what each tap sums up, so the gates are known before.
    A larger batch, whose images have gates of their own, is computed with the gates after the convolutions.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H, W)`."""
        r, u = x[:, : self.split], x[:, self.split :]
        kxk, padding, groups = self.gwc.weight, self.gwc.padding, self.gwc.groups
        taps = _tap_sums(r, self.gwc.kernel_size[0]) / (x.shape[2] * x.shape[3])
        mean_yr = F.conv2d(taps, kxk, groups=groups) + _of_mean(self.pwc, r)
        gate = self.gate(mean_yr, _of_mean(self.pw, u))
        if x.shape[0] != 1:
            out: Tensor = self.act(_blend(self.gwc(r) + self.pwc(r), self.pw(u), gate))
            return out
        assert self.pw.bias is not None
        assert self.pwc.bias is not None
        share = gate.view(-1, 1, 1, 1)
        pointwise = torch.cat([self.pwc.weight * share, self.pw.weight * (1 - share)], 1)
        bias = self.pw.bias + share.flatten() * (self.pwc.bias - self.pw.bias)
        y = F.conv2d(r, kxk * share, None, 1, padding, groups=groups)
        gated: Tensor = self.act(y + F.conv2d(x, pointwise, bias))
        return gated


class GateBetween(_Apart):
    """Two convolutions, for batch 1: the gates, known after the grouped one, scale the weights of the other.

    The other is both 1x1s as one over all channels. A larger batch, whose images have gates of their own, is computed
    as in `OutputGate`.
    """

    def __init__(self, operator: SPConv) -> None:
        super().__init__(operator)
        self.mixture = _Mixture(self.pwc, self.pw)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y, pooled = self.gwc(x[:, : self.split]), self.pool(x)
        if x.shape[0] != 1:
            yr, yu = y + self.pwc(pooled[:, : self.split]), self.pw(pooled[:, self.split :])
            out: Tensor = self.act(_blend(yr, yu, self.gate(_mean(yr), _mean(yu))))
            return out
        share = self.share(_mean(y) + self.mixture.difference(_mean(pooled)))
        gated: Tensor = self.act(self.mixture(pooled, share).addcmul_(y, share))
        return gated


class _Mixture(nn.Conv2d):
    """A 1x1 convolution between two others that read different channels of one input.

    Args:
        first: The 1x1 convolution of the first channels, biased.
        second: That of the other channels, biased.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__(first.in_channels + second.in_channels, first.out_channels, 1)
        assert first.bias is not None
        assert second.bias is not None
        self.weight = nn.Parameter(torch.cat([torch.zeros_like(first.weight), second.weight], 1))
        self.bias = nn.Parameter(second.bias.clone())
        self.towards: Tensor
        self.bias_towards: Tensor
        self.register_buffer("towards", torch.cat([first.weight, -second.weight], 1))
        self.register_buffer("bias_towards", first.bias - second.bias)
        self.requires_grad_(False)

    def forward(self, x: Tensor, share: Tensor) -> Tensor:  # type: ignore[override]
        """Map one image `(1, Cin, H, W)` to `share first + (1 - share) second`, the share `(1, Cout, 1, 1)`."""
        assert self.bias is not None
        weight = torch.addcmul(self.weight, self.towards, share.view(-1, 1, 1, 1))
        bias = torch.addcmul(self.bias, self.bias_towards, share.flatten())
        y: Tensor = self._conv_forward(x, weight, bias)
        return y

    def difference(self, mean: Tensor) -> Tensor:
        """Give the mean of the first's output less the second's from that of the input, `(1, Cin, 1, 1)`."""
        towards = self.towards.flatten(1)
        return F.linear(mean.flatten(1), towards, self.bias_towards)[..., None, None]


class Dense(SPConvDeployed):
    """Two convolutions: the grouped one and its 1x1 in one dense k x k kernel. At stride 2 for even sizes only.

    The 1x1 is on the centre tap; at stride 2, where it reads 2x2 averages, a quarter of it is on each of four taps.
    """

    def __init__(self, operator: SPConv) -> None:
        super().__init__(operator)
        pwc = fold(operator.pwc, operator.bn_r, operator.bn)
        gwc = fold(operator.gwc, operator.bn_r, operator.bn)
        self.stride = operator.site.stride
        self.kxk = merge_pointwise(gwc, pwc, span=self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`.

        Raises:
            ValueError: Height or width are odd at stride 2.
        """
        if self.stride == 2 and (x.shape[2] % 2 or x.shape[3] % 2):
            raise ValueError(
                f"the dense form of spconv takes even heights and widths at stride 2, got {tuple(x.shape)}; "
                "deploy the model again for images of this size"
            )
        yr, u = self.kxk(x[:, : self.split]), x[:, self.split :]
        gate = self.gate(_mean(yr), _of_mean(self.pw, u))
        out: Tensor = self.act(_blend(yr, self.pooled_pointwise(u), gate))
        return out

    def pooled_pointwise(self, u: Tensor) -> Tensor:
        """Give the branch yu."""
        yu: Tensor = self.pw(self.pool(u))
        return yu


class Strided(Dense):
    """As `Dense`, and the 1x1 on 2x2 averages is a 2x2 convolution of stride 2: nothing is pooled. For stride 2."""

    def __init__(self, operator: SPConv) -> None:
        super().__init__(operator)
        pw = self.pw
        self.quarters = nn.Conv2d(pw.in_channels, pw.out_channels, 2, 2).requires_grad_(False)
        self.quarters.weight = nn.Parameter(pw.weight.repeat(1, 1, 2, 2) / 4, requires_grad=False)
        self.quarters.bias = pw.bias

    def pooled_pointwise(self, u: Tensor) -> Tensor:
        """Give the branch yu."""
        yu: Tensor = self.quarters(u)
        return yu


# By name, the default first.
FORMS: dict[str, type[SPConvDeployed]] = {
    "split": Split,
    "output-gate": OutputGate,
    "dense": Dense,
    "strided": Strided,
    "gate-first": GateFirst,
    "gate-between": GateBetween,
}


def _blend(yr: Tensor, yu: Tensor, gate: Tensor) -> Tensor:
    """Give `gate yr + (1 - gate) yu`; `yu` may be overwritten."""
    # ONNX has no lerp: it would become both of torch's formulas for it and a choice between them at every pixel.
    if torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
        return yu + gate * (yr - yu)
    return yu.lerp_(yr, gate)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _of_mean(pointwise: nn.Conv2d, x: Tensor) -> Tensor:
    """Give the mean of a 1x1 convolution's output, `(N, Cout, 1, 1)`: the 1x1 of the mean, cheaper as a product."""
    mean = x.mean((2, 3))
    return F.linear(mean, pointwise.weight.flatten(1), pointwise.bias)[..., None, None]


def _gate_scale(bn: nn.BatchNorm2d | None) -> Tensor | None:
    """Give what the folded branches' difference is divided by, `(1, Cout, 1, 1)`; one where both branches are equal."""
    if bn is None:
        return None
    factor = scale(bn)
    return torch.where(factor.abs() < _ZERO_SCALE, 1.0, factor).view(1, -1, 1, 1)


def _tap_sums(x: Tensor, k: int) -> Tensor:
    """Sum up what each tap of a k x k kernel reads at stride 1 and padding k // 2, `(N, C, k, k)`."""
    rows = torch.stack(_shifted_sums(x, 2, k), 2)  # (N, C, k, W)
    return torch.stack(_shifted_sums(rows, 3, k), 3)


def _shifted_sums(x: Tensor, dim: int, k: int) -> list[Tensor]:
    """Sum along a dimension without the first or the last entries, which a shifted tap does not read."""
    total, size, reach = x.sum(dim), x.shape[dim], k // 2
    lost = [min(shift, size) for shift in range(1, reach + 1)]
    before = [total - x.narrow(dim, size - count, count).sum(dim) for count in lost]
    after = [total - x.narrow(dim, 0, count).sum(dim) for count in lost]
    return [*reversed(before), total, *after]
