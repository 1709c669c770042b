"""The SPConv operator: a k x k convolution on a part of the input channels, a 1x1 on the others.

Source: Zhang et al., Split to Be Slim: An Overlooked Redundancy in Vanilla Convolution, IJCAI 2020,
https://arxiv.org/abs/2006.12085
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.geometry import share_of
from spnas.operators.inheritance import OutputNorm, output_norm
from spnas.operators.least_squares import fit_grouped, match_statistics, plain_output
from spnas.operators.registry import register_operator
from spnas.operators.spconv_forms import FORMS

# How large fitted branches are beside what they add up to, where the host's BatchNorm makes up for it. The gates see
# differences as small, and stay near a half, as the fit takes them to be, until training moves them. mAP50-95 of
# yolov8n with spconv:0.5 everywhere, before any training: .21 at 1, .28 at .3, .30 at .1 and at .03; the base had .32.
_SWING = 0.1


@register_operator
class SPConv(Operator):
    """Split-based convolution: `out = act(BN(a * yr + b * yu))`, `(a, b) = softmax(GAP(yr), GAP(yu))`.

    `yr = BN(GWC_kxk(r) + PWC_1x1(r'))` and `yu = BN(PW_1x1(u'))` for the representative channels r (the first
    `int(ratio * Cin)`) and the uncertain ones u. At stride 2, r' and u' are 2x2 averages; at odd sizes the last row and
    column average over the pixels that exist. GWC has 2 groups, or 1 where r or the output is odd in channels.

    Args:
        site: The convolution to replace.
        host: What surrounds it; its BatchNorm, if any, follows the fusion.
        ratio: Share of the input channels that the k x k convolution reads, alpha in the paper.
    """

    name = "spconv"
    form = "split"

    def __init__(self, site: ConvSite, host: Host, *, ratio: float) -> None:
        super().__init__(site, host, ratio=ratio)
        k, out = site.kernel_size, site.out_channels
        self.split = share_of(site.in_channels, ratio)
        rest = site.in_channels - self.split
        groups = 1 if self.split % 2 or out % 2 else 2
        self.gwc = nn.Conv2d(
            self.split, out, k, site.stride, site.padding, groups=groups, bias=False
        )
        self.pwc = nn.Conv2d(self.split, out, 1, bias=False)
        self.pw = nn.Conv2d(rest, out, 1)
        self.pool: nn.Module = (
            nn.AvgPool2d(2, 2, ceil_mode=True) if site.stride == 2 else nn.Identity()
        )
        self.bn_r, self.bn_u = self.norm(out), self.norm(out)
        self.bn = self.norm(out) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse a ratio that leaves a part empty, and geometries the 1x1 branches cannot follow."""
        ratio = params["ratio"]
        if not 0 < ratio < 1:
            return f"expected a ratio between 0 and 1, got {ratio:g}"
        if not 1 <= share_of(site.in_channels, ratio) < site.in_channels:
            return f"ratio {ratio:g} of {site.in_channels} input channels leaves a part empty"
        if site.stride > 2:
            return f"expected stride 1 or 2, got {site.stride}"
        if site.dilation != 1:
            return f"expected dilation 1, got {site.dilation}"
        if site.kernel_size % 2 == 0 or site.padding != site.kernel_size // 2:
            return (
                "expected an odd kernel with padding of half its size, "
                f"got {site.kernel_size}x{site.kernel_size} with padding {site.padding}"
            )
        return None

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Start as the plain convolution would be, were the pixels under each 1x1's kernel alike."""
        kernel, taps = conv.weight, conv.weight.sum((2, 3))
        pointwise = taps[:, : self.split].clone()
        size = self.split // self.gwc.groups
        own = []
        for group, rows in enumerate(torch.arange(len(kernel)).chunk(self.gwc.groups)):
            columns = slice(group * size, (group + 1) * size)
            own.append(kernel[rows, columns])
            pointwise[rows, columns] = 0
        self.gwc.weight.copy_(torch.cat(own))
        self.pwc.weight.copy_(pointwise[:, :, None, None])
        self.pw.weight.copy_(taps[:, self.split :, None, None])
        if self.pw.bias is not None:
            self.pw.bias.zero_()
        self._inherit_norms(conv, bn)

    def _inherit_norms(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Set the BatchNorms so that at equal gates the branches add up to the plain convolution's output.

        The mean and the variance of that output are divided between the branches by their kernels' energies.
        """
        norm = output_norm(conv, bn)
        energy = conv.weight.square().sum((2, 3))
        part, total = energy[:, : self.split].sum(1), energy.sum(1)
        share = torch.where(total > 0, part / total, 0.5)
        one, zero = torch.ones_like(share), torch.zeros_like(share)
        weight, bias = (norm.weight, norm.bias) if self.bn is None else (one, zero)
        for branch, of in ((self.bn_r, share), (self.bn_u, 1 - share)):
            OutputNorm(norm.mean * of, norm.variance * of, 2 * of.sqrt() * weight, bias).write(
                branch
            )
        if self.bn is not None:
            OutputNorm(zero, one, norm.weight, norm.bias).write(self.bn)

    @torch.no_grad()
    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Regress the plain output on what both branches read, and begin with gates that hardly move."""
        targets = plain_output(conv, bn, inputs)
        r, u = torch.split(inputs, [self.split, self.pw.in_channels], 1)
        weights = fit_grouped(self.gwc, r, self.pool(inputs), targets)
        self.pwc.weight.copy_(weights[:, : self.split, None, None])
        self.pw.weight.copy_(weights[:, self.split :, None, None])
        if self.pw.bias is not None:
            self.pw.bias.zero_()
        yr, yu = self.gwc(r) + self.pwc(self.pool(r)), self.pw(self.pool(u))
        swing = 1.0 if self.bn is None else _SWING
        mean = targets.mean((0, 2, 3))
        for branch, made in ((self.bn_r, yr), (self.bn_u, yu)):
            match_statistics(branch, made, 2 * swing)
        if self.bn is None:
            self.bn_r.bias.copy_(mean)
            self.bn_u.bias.copy_(mean)
        else:
            both = yr + yu
            both -= both.mean((0, 2, 3), keepdim=True)  # as the branches' BatchNorms do
            match_statistics(self.bn, swing * both, 1 / swing)
            self.bn.bias.copy_(mean)

    def forms(self, shape: Sequence[int]) -> tuple[str, ...]:
        """Name those of `spconv_forms.FORMS` that apply."""
        batch, _, height, width = shape
        even = height % 2 == 0 and width % 2 == 0
        applies = {
            "dense": self.site.stride == 1 or even,
            "strided": self.site.stride == 2 and even,
            "gate-first": self.site.stride == 1 and batch == 1,
            "gate-between": batch == 1,
        }
        return tuple(name for name in FORMS if applies.get(name, True))

    def deploy(self) -> nn.Module:
        """Give the form with every BatchNorm folded, the host's too, and a sigmoid for the softmax."""
        return FORMS[self.form](self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        # One split: the gradients of two slices are two tensors of full size, and contiguous.
        r, u = torch.split(x, [self.split, self.pw.in_channels], 1)
        yr = self.bn_r(self.gwc(r) + self.pwc(self.pool(r)))
        yu = self.bn_u(self.pw(self.pool(u)))
        y = _mixed(yr, yu) if self.training else _mixed_as_published(yr, yu)
        out: Tensor = self.act(y if self.bn is None else self.bn(y))
        return out


def _mixed_as_published(yr: Tensor, yu: Tensor) -> Tensor:
    """Give `a yr + b yu`; the operations that the paper's tables count."""
    # A softmax over two is a sigmoid of the difference.
    gate = torch.sigmoid(yr.mean((2, 3), keepdim=True) - yu.mean((2, 3), keepdim=True))
    return yr * gate + yu * (1 - gate)


def _mixed(yr: Tensor, yu: Tensor) -> Tensor:
    """Give the same, as the gates sum to one, in half the passes over all pixels, forward and backward."""
    difference = yr - yu
    return torch.addcmul(yu, difference, torch.sigmoid(difference.mean((2, 3), keepdim=True)))
