"""Augmentation of a whole batch of detection images at once, on whatever device they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

from spnas.tasks.detection_images import GREY, Boxes

# Pixels, and share of what it was: what is smaller is no object any more.
_LEAST_SIDE, _LEAST_AREA = 2.0, 0.1
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How far a training image is changed, each figure drawn uniformly from -x..x.

    The colours' strengths, the shift and the flip are Ultralytics' defaults. A short training has no time for more:
    scaling is weaker, and there is no mosaic.

    Attributes:
        shift: Share of the canvas.
        scale: Share of the size.
        mirror: Probability of mirroring left to right.
        hue: Share of a full turn of the colour circle.
        saturation: Share of the saturation.
        value: Share of the brightness.
    """

    shift: float = 0.1
    scale: float = 0.3
    mirror: float = 0.5
    hue: float = 0.015
    saturation: float = 0.7
    value: float = 0.4

    def __call__(
        self, pixels: Tensor, boxes: Boxes, generator: torch.Generator
    ) -> tuple[Tensor, Boxes]:
        """Shift, scale, mirror and recolour images, each in its own way.

        Args:
            pixels: `(N, 3, H, W)`, bytes.
            boxes: Their objects, on the CPU.
            generator: On the CPU, so that every device draws the same.

        Returns:
            Images `(N, 3, H, W)` in 0..1, channels last, and the objects still to be seen.
        """
        count, _, height, width = pixels.shape
        drawn = torch.rand(7, count, generator=generator) * 2 - 1
        zoom = 1 + self.scale * drawn[0]
        zoom = torch.stack([torch.where(drawn[1] < 2 * self.mirror - 1, -zoom, zoom), zoom], 1)
        shift = self.shift * drawn[2:4].T  # share of the canvas, right and down
        colours = _colours(self.hue * drawn[4], self.saturation * drawn[5], self.value * drawn[6])
        moved = _move(pixels, zoom.to(pixels.device), shift.to(pixels.device))
        recoloured = torch.bmm(colours.to(pixels.device) / 255, moved.flatten(2)).view_as(moved)
        images = recoloured.clamp_(0, 1).contiguous(memory_format=torch.channels_last)
        return images, _move_boxes(boxes, zoom, shift, (width, height))


def _move(pixels: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Zoom about the centre and shift `(N, 3, H, W)`; a negative zoom mirrors. What comes into view is grey."""
    count, _, height, width = pixels.shape
    right, down = (
        (_centres(side, pixels.device) - 2 * shift[:, axis, None]) / zoom[:, axis, None]
        for axis, side in enumerate((width, height))
    )
    # Without a rotation each axis goes by itself, which `affine_grid` does not know.
    shape = count, height, width
    grid = torch.stack([right[:, None].expand(shape), down[:, :, None].expand(shape)], 3)
    return F.grid_sample(pixels.float() - GREY, grid, align_corners=False) + GREY


def _centres(side: int, device: torch.device) -> Tensor:
    """Give the centres of a side's pixels in -1..1."""
    return (2 * torch.arange(side, device=device) + 1) / side - 1


def _move_boxes(boxes: Boxes, zoom: Tensor, shift: Tensor, size: tuple[int, int]) -> Boxes:
    """Move objects with their images, cut them to the canvas and leave out what is hardly seen."""
    edge = torch.tensor(size, dtype=torch.float32)
    corners = boxes.corners.view(-1, 2, 2)
    factor, offset = zoom[boxes.image, None], shift[boxes.image, None] * edge
    moved = (corners - edge / 2) * factor + edge / 2 + offset
    moved = torch.stack([moved.amin(1), moved.amax(1)], 1)  # a mirror swaps left and right
    full = (moved[:, 1] - moved[:, 0]).prod(1)
    seen = moved.clamp(torch.zeros(2), edge)
    sides = seen[:, 1] - seen[:, 0]
    kept = (sides > _LEAST_SIDE).all(1) & (sides.prod(1) > _LEAST_AREA * full)
    return Boxes(boxes.image, boxes.label, seen.flatten(1))[kept]


def _colours(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Give matrices that change red, green and blue, `(N, 3, 3)`.

    The hue is turned about the grey axis, the saturation is the distance from a pixel's luma, the value a factor: what
    a change of HSV does, but linear, so that it is one small matrix product.

    Args:
        hue: Turns, `(N,)`.
        saturation: Share to add, `(N,)`.
        value: Share to add, `(N,)`.
    """
    grey = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    angle = (2 * math.pi * hue)[:, None, None]
    turn = grey + angle.cos() * (torch.eye(3) - grey) + angle.sin() * cross
    luma = torch.tensor(_LUMA).expand(3, 3)
    fade = luma + (1 + saturation)[:, None, None] * (torch.eye(3) - luma)
    return (1 + value)[:, None, None] * fade @ turn
