"""Choose images and cut their order into batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def split_batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut indices `(N,)` into `ceil(N / size)` batches of nearly equal sizes, at most `size`.

    A short last batch would weigh too much in BatchNorm statistics, and one of a single image, of which there is one
    only where an odd number is cut in twos, cannot be normalized where a network's map has shrunk to one pixel.
    """
    return list(torch.tensor_split(order, math.ceil(len(order) / size)))


def sample(images: int, count: int, generator: torch.Generator) -> Tensor:
    """Choose some of a set's images, spread evenly over it, in random order, `(min(count, images),)`.

    Neighbours in a set are often alike, of one class or one film, and would make a poor batch.
    """
    count = min(count, images)
    chosen = torch.linspace(0, images - 1, count, dtype=torch.float64).round().long()
    return chosen[torch.randperm(count, generator=generator)]
