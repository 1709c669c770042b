"""The ldconv operator: every output pixel samples N points, whose places the image decides.

Source: Zhang et al., LDConv: Linear deformable convolution for improving convolutional neural networks (first named
AKConv), Image and Vision Computing 2024, https://arxiv.org/abs/2311.11587
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.operators.base import Host, Operator
from spnas.operators.folding import fold
from spnas.operators.geometry import off_centre
from spnas.operators.inheritance import output_norm
from spnas.operators.registry import register_operator
from spnas.operators.smoothness import patch_correlation, shrunk, whitened_taps

OFFSET_KERNEL = 3


def sampling_pattern(points: int) -> Tensor:
    """Give the points sampled at offset zero, `(N, 2)`, row and column in pixels from the output pixel's place.

    The paper's algorithm: as many full rows of `round(sqrt(N))` points as there are, beginning at the pixel itself, and
    a last row of the points that are left.
    """
    columns = round(math.sqrt(points))
    places = [divmod(point, columns) for point in range(points)]
    return torch.tensor(places, dtype=torch.float32)


class Sampler(nn.Module):
    """Bilinear sampling of P points for every output pixel; beyond the border the border's pixels repeat.

    Args:
        points: P.
        stride: Input pixels from one output pixel's place to the next, in both directions.
    """

    pattern: Tensor

    def __init__(self, points: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("pattern", sampling_pattern(points), persistent=False)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Sample.

        Args:
            x: The image, `(N, C, H, W)`.
            offsets: What is added to the pattern, `(N, 2P, H', W')`: the points' rows, then their columns, in pixels.

        Returns:
            The samples, `(N, C, H' P, W')`: under one another, point by point, for each output pixel.
        """
        # Half precision cannot tell the pixels of a wide image apart.
        dtype = torch.promote_types(x.dtype, torch.float32)
        rows, columns = offsets.to(dtype).chunk(2, 1)
        pattern = self.pattern.to(dtype)[:, :, None, None]
        grid = [
            self._normalized(columns + pattern[:, 1], 3, x.shape[3]),
            self._normalized(rows + pattern[:, 0], 2, x.shape[2]),
        ]
        places = torch.stack(grid, 4).transpose(1, 2).flatten(1, 2)
        samples = nn.functional.grid_sample(
            x.to(dtype), places, mode="bilinear", padding_mode="border", align_corners=False
        )
        return samples.to(x.dtype)

    def _normalized(self, shifts: Tensor, axis: int, size: int) -> Tensor:
        """Add the output pixels' places along an axis, in grid_sample's units: -1 and 1 are the image's edges."""
        steps = torch.arange(shifts.shape[axis], dtype=shifts.dtype, device=shifts.device)
        place = steps * self.stride
        return ((shifts + (place[:, None] if axis == 2 else place)) * 2 + 1) / size - 1


@register_operator
class LDConv(Operator):
    """Linear deformable convolution: `out = act(BN(conv_Nx1(sample(x, pattern + offset(x)))))`.

    A 3x3 convolution predicts a row and a column offset for each of N points of each output pixel. The image is sampled
    there, bilinearly, and a convolution over the N samples makes the output. The offset convolution starts at zero, so
    that the operator starts with a fixed pattern (`sampling_pattern`).

    Args:
        site: The convolution to replace.
        host: What surrounds it.
        points: N, the number of points that each output pixel reads.
    """

    name = "ldconv"

    def __init__(self, site: ConvSite, host: Host, *, points: float) -> None:
        super().__init__(site, host, points=points)
        count = int(points)
        self.offset = nn.Conv2d(
            site.in_channels, 2 * count, OFFSET_KERNEL, site.stride, OFFSET_KERNEL // 2
        )
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.sampler = Sampler(count, site.stride)
        self.linear = nn.Conv2d(
            site.in_channels, site.out_channels, (count, 1), (count, 1), bias=not host.bn
        )
        self.bn_out = self.norm(site.out_channels) if host.bn else None

    @classmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Refuse a number of points that is none, and geometries whose size the offset convolution does not share."""
        points = params["points"]
        if points < 1 or points != int(points):
            return f"expected a whole number of points, at least 1, got {points:g}"
        return off_centre(site)

    @torch.no_grad()
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Move the points onto the taps that tell most of the plain output and regress on these, on smooth images.

        Points beyond the number of taps keep their place and start with weight zero.
        """
        taps = most_telling_taps(conv, self.linear.kernel_size[0])
        self._move_points(taps)
        correlation = patch_correlation(conv)
        cross = conv.weight.double().flatten(2) @ correlation[:, taps]
        weights = torch.linalg.solve(correlation[taps][:, taps], cross.mT).mT
        self.linear.weight.zero_()
        self.linear.weight[:, :, : len(taps), 0] = weights.to(conv.weight.dtype)
        norm = output_norm(conv, bn)
        if self.linear.bias is not None:
            self.linear.bias.copy_(norm.bias)
        if self.bn_out is not None:
            explained = (weights * cross).sum((1, 2))
            whitened, _ = whitened_taps(conv)
            shrunk(norm, explained, whitened.square().sum((1, 2))).write(self.bn_out)

    def _move_points(self, taps: Tensor) -> None:
        """Set the offsets so that the first points lie on these taps of the plain kernel, whatever the image."""
        k, dilation = self.site.kernel_size, self.site.dilation
        places = torch.stack([taps // k, taps % k], 1).sub(k // 2) * dilation
        shifts = torch.zeros_like(self.sampler.pattern)
        shifts[: len(taps)] = places - self.sampler.pattern[: len(taps)]
        self.offset.weight.zero_()
        assert self.offset.bias is not None
        self.offset.bias.copy_(shifts.T.flatten())

    def deploy(self) -> nn.Module:
        """Give the same module with the BatchNorm folded into the convolution over the samples."""
        return LDConvDeployed(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        y = self.linear(self.sampler(x, self.offset(x)))
        out: Tensor = self.act(y if self.bn_out is None else self.bn_out(y))
        return out


class LDConvDeployed(nn.Module):
    """A linear deformable convolution for inference: two biased convolutions and the sampling between them.

    Args:
        operator: The trained operator, left untouched.
    """

    def __init__(self, operator: LDConv) -> None:
        super().__init__()
        self.offset = fold(operator.offset)
        self.sampler = copy.deepcopy(operator.sampler)
        self.linear = fold(operator.linear, operator.bn_out)
        self.act = copy.deepcopy(operator.act)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
        out: Tensor = self.act(self.linear(self.sampler(x, self.offset(x))))
        return out


def most_telling_taps(conv: nn.Conv2d, count: int) -> Tensor:
    """Choose taps one by one, each the one that adds most to the variance explained of the outputs, on smooth images.

    Returns:
        The taps' numbers in the kernel, row by row, `(min(count, k * k),)`, in the order they were chosen.
    """
    correlation = patch_correlation(conv)
    kernels = conv.weight.double().flatten(2).flatten(0, 1)
    # How the taps' pixels covary with the outputs, summed over all pairs of channels; and with each other.
    target = correlation @ (kernels.T @ kernels) @ correlation
    left = correlation.clone()
    free = torch.ones_like(left[0], dtype=torch.bool)
    chosen = []
    for _ in range(min(count, len(left))):
        gain = torch.where(free, target.diagonal() / left.diagonal(), -1.0)
        best = int(gain.argmax())
        chosen.append(best)
        free[best] = False
        # Take what the chosen pixel tells out of all others.
        share = left[:, best] / left[best, best]
        project = torch.eye(len(left), dtype=left.dtype, device=left.device)
        project[:, best] -= share
        target, left = project @ target @ project.T, project @ left
    return torch.tensor(chosen, device=conv.weight.device)
