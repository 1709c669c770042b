"""Cut an order of images into batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def split_batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut indices `(N,)` into `ceil(N / size)` batches of nearly equal sizes, at most `size`.

    A short last batch would weigh too much in BatchNorm statistics, and one of a single image cannot be normalized
    where a network's map has shrunk to one pixel.
    """
    return list(torch.tensor_split(order, math.ceil(len(order) / size)))
