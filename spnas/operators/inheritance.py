"""What operators share when they start from a trained plain convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OutputNorm:
    """The statistics and the affine map of a convolution's output without its bias, each of shape `(Cout,)`.

    Attributes:
        mean: Mean over images and pixels.
        variance: Variance over images and pixels.
        weight: Factor that the normalized output is multiplied by.
        bias: What is then added.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor

    def __getitem__(self, channels: slice | Tensor) -> OutputNorm:
        """Take a part of the channels."""
        parts = (self.mean, self.variance, self.weight, self.bias)
        return OutputNorm(*(part[channels] for part in parts))

    def write(self, bn: nn.BatchNorm2d) -> None:
        """Set a BatchNorm of as many channels to these values."""
        assert bn.running_mean is not None
        assert bn.running_var is not None
        bn.running_mean.copy_(self.mean)
        bn.running_var.copy_(self.variance)
        bn.weight.copy_(self.weight)
        bn.bias.copy_(self.bias)


def output_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> OutputNorm:
    """Read the output's statistics and affine map from the BatchNorm after a convolution.

    Without a BatchNorm the map is the identity plus the convolution's bias, and the statistics are those for white
    input of mean 0 and variance 1.

    Args:
        conv: The trained convolution.
        bn: The BatchNorm after it, if any.
    """
    energy = conv.weight.square().sum((1, 2, 3))
    bias = torch.zeros_like(energy) if conv.bias is None else conv.bias
    if bn is None:
        return OutputNorm(torch.zeros_like(energy), energy, energy.sqrt(), bias)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return OutputNorm(bn.running_mean - bias, bn.running_var, bn.weight, bn.bias)
