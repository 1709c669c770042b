"""Fit the linear parts of an operator to what a trained plain convolution makes of real inputs.

From weights alone an operator can only take over what they say (`Operator.inherit`). With a sample of what the
convolution reads (`Operator.fit`), the best weights of any part that is linear in them are a ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn

PIXELS = 8192  # output pixels that a regression is made on, at most
RIDGE = 1e-3  # times the mean variance of what is regressed on
_TINY = 1e-30  # where nothing varies the weights are zero


@dataclass(frozen=True)
class PixelSample:
    """Some pixels of a layer's output, by image, row and column, each `(P,)`."""

    image: Tensor
    row: Tensor
    column: Tensor

    @staticmethod
    def of(maps: Tensor, pixels: int = PIXELS) -> PixelSample:
        """Draw pixels of maps `(N, C, H, W)`, all where there are few; the same ones for the same shape."""
        count, _, height, width = maps.shape
        places = torch.arange(count * height * width)
        if len(places) > pixels:
            generator = torch.Generator().manual_seed(0)
            places = torch.randperm(len(places), generator=generator)[:pixels]
        places = places.to(maps.device)
        return PixelSample(places // (height * width), places // width % height, places % width)

    def values(self, maps: Tensor) -> Tensor:
        """Read maps of the output's size at these pixels, `(P, C)`."""
        return maps[self.image, :, self.row, self.column]

    def patches(self, inputs: Tensor, conv: nn.Conv2d) -> Tensor:
        """Read what the kernel of a convolution lies on at these pixels, `(P, C, k * k)`.

        Args:
            inputs: `(N, C, H, W)`.
            conv: Gives kernel size, stride, padding and dilation; its channels do not matter.
        """
        reach = conv.dilation[0] * (conv.kernel_size[0] - 1) + 1
        padded = F.pad(inputs, [int(conv.padding[0])] * 4)
        windows = padded.unfold(2, reach, conv.stride[0]).unfold(3, reach, conv.stride[0])
        taps = windows[..., :: conv.dilation[0], :: conv.dilation[0]]
        return taps[self.image, :, self.row, self.column].flatten(2)


def plain_output(conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> Tensor:
    """Give what a trained convolution and its BatchNorm, in eval mode, make of inputs, before any activation."""
    made: Tensor = conv(inputs)
    if bn is None:
        return made
    return F.batch_norm(made, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)


def regress(features: Tensor, targets: Tensor, ridge: float = RIDGE) -> Tensor:
    """Regress targets on features, both about their means, by the normal equations in double precision.

    Args:
        features: `(..., P, F)`, P samples of F numbers.
        targets: `(..., P, T)`.
        ridge: What is added to each feature's variance, times the mean variance of the features.

    Returns:
        Weights `(..., F, T)`, of the features' type.
    """
    x, y = (_double(part) for part in (features, targets))
    x = x - x.mean(-2, keepdim=True)
    gram, cross = x.mT @ x, x.mT @ (y - y.mean(-2, keepdim=True))
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    diagonal += ridge * diagonal.mean(-1, keepdim=True).clamp(min=_TINY)
    weights: Tensor = torch.linalg.solve(gram, cross)
    return weights.to(features)


def _double(values: Tensor) -> Tensor:
    """Give them in double precision, on the CPU where their device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def fit_pointwise(layer: nn.Conv2d, features: Tensor, targets: Tensor) -> None:
    """Set a 1x1 convolution's kernel so that its output is nearest to the targets, but for a constant.

    Args:
        layer: A 1x1 convolution of groups 1.
        features: What it reads, `(N, F, H, W)`.
        targets: What it is to make, `(N, T, H, W)`.
    """
    pixels = PixelSample.of(targets)
    weights = regress(pixels.values(features), pixels.values(targets))
    layer.weight.copy_(weights.T[:, :, None, None])


def fit_grouped(grouped: nn.Conv2d, inputs: Tensor, others: Tensor, targets: Tensor) -> Tensor:
    """Fit a grouped k x k convolution together with a 1x1 that reads the channels outside each output's group.

    Args:
        grouped: Its kernel is set.
        inputs: What it reads, `(N, C, H, W)`.
        others: What the 1x1 reads, `(N, D, H', W')`; the first C channels stand for those of `inputs`.
        targets: What the two are to make together, `(N, Cout, H', W')`.

    Returns:
        The 1x1's weights, `(Cout, D)`, zero within a group: there the k x k kernel holds what it could add.
    """
    pixels = PixelSample.of(targets)
    reads, wanted = pixels.values(others), pixels.values(targets)
    size, taps = grouped.in_channels // grouped.groups, grouped.kernel_size[0] ** 2
    weights = wanted.new_zeros(wanted.shape[1], reads.shape[1])
    kernels = []
    for group, rows in enumerate(torch.arange(wanted.shape[1]).chunk(grouped.groups)):
        own = torch.arange(group * size, (group + 1) * size)
        across = torch.ones(reads.shape[1], dtype=torch.bool)
        across[own] = False
        patches = pixels.patches(inputs[:, own], grouped).flatten(1)
        found = regress(torch.cat([patches, reads[:, across]], 1), wanted[:, rows]).T
        kernels.append(found[:, : size * taps])
        weights[rows[:, None], across.nonzero().T] = found[:, size * taps :]
    grouped.weight.copy_(torch.cat(kernels).view_as(grouped.weight))
    return weights


def level(norm: nn.BatchNorm2d | None, layer: nn.Conv2d, outputs: Tensor, targets: Tensor) -> None:
    """Let a BatchNorm, or the layer's bias where there is none, move fitted outputs to the targets' mean.

    A regression has the right scale already, so the BatchNorm's weight undoes what it divides by.

    Args:
        norm: The BatchNorm after the layer, None where there is none.
        layer: The layer whose bias is set where there is no BatchNorm.
        outputs: What was made without a bias, `(N, C, H, W)`.
        targets: What was to be made.
    """
    wanted = targets.mean((0, 2, 3))
    if norm is None:
        assert layer.bias is not None
        layer.bias.copy_(wanted - outputs.mean((0, 2, 3)))
        return
    match_statistics(norm, outputs)
    norm.bias.copy_(wanted)


def match_statistics(norm: nn.BatchNorm2d, outputs: Tensor, factor: float = 1.0) -> None:
    """Let a BatchNorm take the mean out of outputs `(N, C, H, W)` and multiply what is left by a factor."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = outputs.var((0, 2, 3), correction=0)
    norm.running_mean.copy_(outputs.mean((0, 2, 3)))
    norm.running_var.copy_(variance)
    norm.weight.copy_(factor * (variance + norm.eps).sqrt())
    norm.bias.zero_()
