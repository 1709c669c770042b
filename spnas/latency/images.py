"""Images to run networks on where no data set is at hand."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_images(imgsz: int, batch: int) -> Tensor:
    """Give images `(batch, 3, imgsz, imgsz)` in 0..1 that are smooth as photographs are, the same ones each time.

    Of noise, deep layers would see next to nothing but its mean.
    """
    coarse = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (imgsz, imgsz), mode="bicubic").clamp(0, 1)
