"""Detection images in memory are what Ultralytics would make of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from spnas.tasks import detection_images
from spnas.tasks.detection_images import LetterboxedImages, open_dataset

CPU = torch.device("cpu")
LABEL = "0 0.5 0.5 0.2 0.2\n1 0.25 0.3 0.1 0.2\n"


def _write(root: Path, sizes: list[tuple[int, int]]) -> Path:
    """Write images of noise, given by width and height, each with two boxes."""
    folder, labels = root / "images" / "train", root / "labels" / "train"
    folder.mkdir(parents=True), labels.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (labels / f"{number}.txt").write_text(LABEL)
    return folder


def _open(folder: Path, imgsz: int = 96) -> LetterboxedImages:
    return LetterboxedImages(open_dataset([folder], {0: "a", 1: "b"}, imgsz), CPU)


@pytest.mark.parametrize(
    ("sizes", "canvas"),
    [
        ([(120, 70), (100, 30)], (64, 96)),
        ([(70, 120)], (96, 64)),
        ([(120, 70), (70, 120)], (96, 96)),
        ([(50, 50)], (96, 96)),
        ([(400, 20)], (32, 96)),
    ],
)
def test_the_canvas_is_the_smallest_that_holds_every_image(
    tmp_path: Path, sizes: list[tuple[int, int]], canvas: tuple[int, int]
) -> None:
    assert _open(_write(tmp_path, sizes)).size == canvas


def test_images_and_boxes_are_letterboxed_as_ultralytics_does(tmp_path: Path) -> None:
    from ultralytics.data.augment import LetterBox

    folder = _write(tmp_path, [(120, 71), (97, 33), (31, 45), (96, 96)])
    images = _open(folder)
    dataset = open_dataset([folder], {0: "a", 1: "b"}, 96)
    for number in range(4):
        label = LetterBox(images.size)(dataset.get_image_and_label(number))
        ours, boxes = images.pixels(torch.tensor([number]))[0], images.boxes(torch.tensor([number]))
        assert torch.equal(ours, torch.from_numpy(label["img"][..., ::-1].copy()).permute(2, 0, 1))
        label["instances"].convert_bbox("xyxy")
        label["instances"].denormalize(*images.size[::-1])
        torch.testing.assert_close(
            boxes.corners, torch.from_numpy(label["instances"].bboxes), atol=1.0, rtol=0
        )
        assert boxes.label.tolist() == label["cls"].ravel().tolist()


def test_images_that_do_not_fit_into_memory_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(tmp_path, [(120, 71), (97, 33), (31, 45)])
    chosen = torch.tensor([2, 0])
    kept = _open(folder)
    monkeypatch.setattr(detection_images, "memory_for", lambda size, device: None)
    read = _open(folder)
    assert read._pixels is None
    assert torch.equal(kept.pixels(chosen), read.pixels(chosen))
    assert kept.boxes(chosen).image.tolist() == [0, 0, 1, 1]
