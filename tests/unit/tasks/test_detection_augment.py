"""Augmentation of detection batches: pixels and boxes move together, colours change as said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spnas.tasks.detection_augment import Augmentation
from spnas.tasks.detection_images import GREY, Boxes

STILL = Augmentation(shift=0, scale=0, mirror=0, hue=0, saturation=0, value=0)
MOVES = Augmentation(shift=0.1, scale=0.3, mirror=0.5, hue=0, saturation=0, value=0)
SIZE = (64, 96)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _scenes(count: int) -> tuple[Tensor, Boxes]:
    """Grey images, each with one white rectangle and its box."""
    draw = torch.randint(10, 30, (count, 4), generator=_generator(0))
    pixels = torch.full((count, 3, *SIZE), GREY, dtype=torch.uint8)
    corners = torch.stack(
        [draw[:, 0], draw[:, 1], draw[:, 0] + draw[:, 2], draw[:, 1] + draw[:, 3]], 1
    )
    for image, (left, top, right, bottom) in zip(pixels, corners.tolist(), strict=True):
        image[:, top:bottom, left:right] = 255
    numbers = torch.arange(count)
    return pixels, Boxes(numbers, numbers.float(), corners.float())


def test_no_augmentation_changes_nothing() -> None:
    pixels, boxes = _scenes(4)
    images, same = STILL(pixels, boxes, _generator(0))
    torch.testing.assert_close(images, pixels.float() / 255)
    torch.testing.assert_close(same.corners, boxes.corners)


def test_boxes_move_with_their_pixels() -> None:
    pixels, boxes = _scenes(64)
    images, moved = MOVES(pixels, boxes, _generator(1))
    white = (images[:, 0] > (GREY + 255) / 2 / 255).float()
    edges = torch.stack([torch.stack(_extent(image)) for image in white])
    assert len(moved.image) == 64
    torch.testing.assert_close(moved.corners, edges, atol=1.0, rtol=0)
    mirrored = (moved.corners[:, 0] > SIZE[1] / 2) & (boxes.corners[:, 2] < SIZE[1] / 2)
    assert 10 < mirrored.sum() < 54


def _extent(white: Tensor) -> tuple[Tensor, ...]:
    rows, columns = white.any(1).nonzero(), white.any(0).nonzero()
    return tuple(
        v.float() for v in (columns[0, 0], rows[0, 0], columns[-1, 0] + 1, rows[-1, 0] + 1)
    )


def test_what_leaves_the_canvas_is_cut_and_what_is_hardly_seen_is_no_object() -> None:
    far = Augmentation(shift=0.5, scale=0, mirror=0)
    boxes = Boxes(
        torch.arange(64), torch.zeros(64), torch.tensor([[0.0, 0.0, 20.0, 20.0]]).repeat(64, 1)
    )
    kept = far(torch.zeros(64, 3, *SIZE, dtype=torch.uint8), boxes, _generator(0))[1]
    sides = kept.corners[:, 2:] - kept.corners[:, :2]
    assert 0 < len(kept.image) < 64
    assert kept.corners.min() == 0
    assert (sides > 2).all()
    assert (sides.prod(1) > 0.1 * 400).all()


def test_colours_keep_grey_grey_and_red_nearly_red() -> None:
    grey = torch.full((8, 3, 2, 2), 100, dtype=torch.uint8)
    images, _ = Augmentation(shift=0, scale=0, mirror=0)(grey, _none(), _generator(0))
    assert images.amax(1).sub(images.amin(1)).max() < 1e-5
    assert 0.6 * 100 / 255 < images.min() < images.max() < 1.4 * 100 / 255
    red = torch.zeros(8, 3, 2, 2, dtype=torch.uint8)
    red[:, 0] = 150
    images, _ = Augmentation(shift=0, scale=0, mirror=0)(red, _none(), _generator(0))
    assert (images[:, 0] > 2 * images[:, 1:].amax(1)).float().mean() > 0.6
    assert len(images[:, 0].unique()) > 4


def _none() -> Boxes:
    return Boxes(torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 4))


@pytest.mark.parametrize(
    ("turns", "expected"), [(1 / 3, [0.0, 1.0, 0.0]), (2 / 3, [0.0, 0.0, 1.0])]
)
def test_a_third_of_a_turn_makes_red_green(turns: float, expected: list[float]) -> None:
    from spnas.tasks.detection_augment import _colours

    matrix = _colours(torch.tensor([turns]), torch.zeros(1), torch.zeros(1))[0]
    torch.testing.assert_close(matrix @ torch.tensor([1.0, 0, 0]), torch.tensor(expected))


def test_the_generator_alone_decides() -> None:
    pixels, boxes = _scenes(4)
    one, two, other = (Augmentation()(pixels, boxes, _generator(seed))[0] for seed in (5, 5, 6))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
