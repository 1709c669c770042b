"""Sites, hosts and inputs that the operators' contract is tested on."""

from __future__ import annotations

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import Choice, ConvSite
from spnas.operators import Host, Operator, build_operator, refusal


class Case(NamedTuple):
    """A site and the size of its input."""

    c_in: int
    c_out: int
    k: int
    stride: int
    height: int
    width: int
    padding: int | None = None  # None: half the kernel
    dilation: int = 1

    @property
    def site(self) -> ConvSite:
        padding = self.k // 2 if self.padding is None else self.padding
        return ConvSite(
            "block.3.conv", self.c_in, self.c_out, self.k, self.stride, padding, self.dilation
        )

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}"
        return f"{self.c_in}-{self.c_out}-k{self.k}-s{self.stride}-{size}"


# Each kernel and stride, even and odd channels and sizes; run with every host.
CASES = [
    Case(8, 8, 3, 1, 8, 8),
    Case(16, 12, 3, 2, 9, 7),
    Case(9, 7, 5, 2, 8, 5),
    Case(8, 8, 5, 2, 8, 5),
    Case(8, 5, 7, 1, 3, 2),
    Case(10, 6, 3, 2, 1, 1),
]

# Channels from one to 512, the widest at sizes that keep this quick; sizes down to one pixel, smaller than the kernel.
GRID = [
    Case(1, 1, 3, 1, 4, 5),
    Case(2, 3, 3, 2, 7, 6),
    Case(3, 16, 3, 2, 15, 13),
    Case(3, 64, 7, 2, 11, 12),
    Case(16, 3, 3, 1, 6, 5),
    Case(5, 7, 5, 1, 7, 7),
    Case(7, 5, 7, 2, 9, 11),
    Case(16, 32, 3, 2, 8, 8),
    Case(32, 16, 5, 2, 7, 5),
    Case(24, 24, 3, 1, 5, 8),
    Case(48, 80, 7, 1, 7, 3),
    Case(64, 64, 3, 1, 6, 6),
    Case(64, 64, 5, 1, 9, 9),
    Case(64, 64, 7, 2, 1, 1),
    Case(64, 128, 3, 2, 9, 9),
    Case(128, 64, 3, 1, 5, 5),
    Case(256, 256, 3, 1, 5, 5),
    Case(256, 512, 3, 2, 7, 7),
    Case(512, 256, 3, 1, 3, 4),
    Case(512, 512, 3, 2, 2, 3),
    Case(512, 512, 3, 1, 1, 1),
]

# One of these every operator takes: strided and odd first, where there is most to go wrong.
TYPICAL = [Case(16, out, 3, stride, 9, 7) for out in (12, 16) for stride in (2, 1)]

HOSTS = {
    "yolo": Host(nn.SiLU(inplace=True), bn_eps=1e-3, bn_momentum=0.03),
    "resnet": Host(nn.ReLU(inplace=True), applies_act=True),
    "smooth": Host(nn.SiLU(inplace=True), applies_act=True),
    "bare": Host(nn.LeakyReLU(0.1), bn=False),
    "linear": Host(),
}


def typical(choice: Choice) -> Case:
    """The first typical case that the choice takes; there must be one."""
    return next(case for case in TYPICAL if refusal(choice, case.site) is None)


def skip_if_refused(choice: Choice, site: ConvSite) -> None:
    reason = refusal(choice, site)
    if reason is not None:
        pytest.skip(f"{choice}: {reason}")


def make_conv(site: ConvSite, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(
        site.in_channels,
        site.out_channels,
        site.kernel_size,
        site.stride,
        site.padding,
        site.dilation,
        bias=bias,
    )


def output_shape(site: ConvSite, x: Tensor) -> torch.Size:
    """The shape that the plain convolution gives."""
    return make_conv(site).to("meta")(x.to("meta", torch.float32)).shape


def make(choice: Choice, case: Case, host: Host = HOSTS["yolo"]) -> Operator:
    """The operator with random weights and statistics; skips the test where the operator refuses the site."""
    skip_if_refused(choice, case.site)
    torch.manual_seed(0)
    operator = build_operator(choice, case.site, copy.deepcopy(host))
    randomize_zeros(operator)
    randomize_norms(operator)
    return operator


def randomize_zeros(module: nn.Module) -> None:
    """Move parameters that begin at zero, as training does: what they feed would otherwise go untested."""
    for parameter in module.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)


def randomize_norms(module: nn.Module) -> None:
    """Give every BatchNorm statistics as training might: negative and zero scales, any mean and variance."""
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            nn.init.normal_(bn.weight)
            nn.init.normal_(bn.bias)
            nn.init.normal_(bn.running_mean)
            nn.init.uniform_(bn.running_var, 0.2, 3)
            if bn.num_features > 1:
                with torch.no_grad():
                    bn.weight[0] = 0


def example(case: Case, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, case.c_in, case.height, case.width, generator=generator)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value of `b`."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
