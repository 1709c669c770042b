"""Detection scenes: handwritten digits of many sizes, in colour, on noisy backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image

from spnas.tasks.data.digits import Pixels, load_split

SIZE = 128  # pixels, height and width of a scene
IMGSZ = 96  # pixels, what to train at: faster than 128, and at 64 the small digits are lost
CLASSES = (0, 1, 2, 3)
IMAGES = {"train": 200, "val": 64}
DIGITS = (2, 6)  # digits in a scene, least and most
HEIGHT = (20, 52)  # pixels, the smallest and the largest digit

_MARGIN = 3  # pixels between digits
_TRIES = 20

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels
Colours = npt.NDArray[np.float64]


def write_scenes(folder: Path) -> None:
    """Write a detection set in Ultralytics' format; the same bytes each time.

    Training and validation scenes are made of different digits.
    """
    for seed, (split, count) in enumerate(IMAGES.items()):
        pixels, labels = load_split(split == "train")
        rng = np.random.default_rng(seed)
        images, texts = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        texts.mkdir(parents=True)
        for number in range(count):
            scene, objects = _scene(pixels, labels, rng)
            Image.fromarray(scene).save(images / f"{number:04d}.png", compress_level=1)
            (texts / f"{number:04d}.txt").write_text("".join(_line(*item) for item in objects))
    names = {index: f"digit {label}" for index, label in enumerate(CLASSES)}
    content = {"train": "images/train", "val": "images/val", "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _scene(
    pixels: Pixels, labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[Pixels, list[tuple[int, Box]]]:
    """Draw one scene `(SIZE, SIZE, 3)`; give it and the class and box of each digit."""
    canvas, base = _background(rng)
    objects: list[tuple[int, Box]] = []
    for _ in range(rng.integers(DIGITS[0], DIGITS[1] + 1)):
        label = int(rng.integers(len(CLASSES)))
        digit = pixels[rng.choice(np.flatnonzero(labels == CLASSES[label]))]
        ink = _ink(digit, int(rng.integers(HEIGHT[0], HEIGHT[1] + 1)))
        box = _place(ink.shape, [box for _, box in objects], rng)
        if box is None:
            continue
        colour = (base + rng.uniform(70, 185, 3) * rng.choice([-1, 1])).clip(0, 255)
        left, top, right, bottom = box
        patch = canvas[top:bottom, left:right]
        patch += ink[..., None] * (colour - patch)
        objects.append((label, box))
    canvas += rng.normal(0, 6, canvas.shape)
    return canvas.clip(0, 255).round().astype(np.uint8), objects


def _background(rng: np.random.Generator) -> tuple[Colours, Colours]:
    """Give a softly mottled `(SIZE, SIZE, 3)` background, 0..255, and its mean colour."""
    base = rng.uniform(50, 205, 3)
    coarse = rng.normal(0, 1, (8, 8)).clip(-2, 2) * 40 + 128
    image = Image.fromarray(coarse.astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    mottle = (np.asarray(image, dtype=np.float64) - 128)[..., None] * rng.uniform(0.3, 1, 3)
    return base + mottle, base


def _ink(digit: Pixels, height: int) -> Colours:
    """Enlarge a digit smoothly to a height in pixels; give its opacity `(h, w)`, 0..1, cut to what is visible."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    tight = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = max(4, round(height * tight.shape[1] / tight.shape[0]))
    image = Image.fromarray(tight).resize((width, height), Image.Resampling.BICUBIC)
    ink = np.asarray(image, dtype=np.float64) / 255
    visible = ink > 0.25
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(shape: tuple[int, ...], taken: list[Box], rng: np.random.Generator) -> Box | None:
    """Find room for a digit apart from the others; None after some tries."""
    height, width = shape
    for _ in range(_TRIES):
        left, top = int(rng.integers(SIZE - width + 1)), int(rng.integers(SIZE - height + 1))
        box = (left, top, left + width, top + height)
        if not any(_near(box, other) for other in taken):
            return box
    return None


def _near(a: Box, b: Box) -> bool:
    """Whether two boxes overlap or are closer than the margin."""
    return (
        a[0] < b[2] + _MARGIN
        and b[0] < a[2] + _MARGIN
        and a[1] < b[3] + _MARGIN
        and b[1] < a[3] + _MARGIN
    )


def _line(label: int, box: Box) -> str:
    """Give the label's line: class, centre x and y, width, height, as shares of the scene."""
    left, top, right, bottom = (value / SIZE for value in box)
    centre = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
    return f"{label} {centre} {right - left:.6f} {bottom - top:.6f}\n"
