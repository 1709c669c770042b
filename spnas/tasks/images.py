"""Whether image files can be read, and what they are, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

MIN_SIDE = 10  # pixels; Ultralytics leaves smaller images out
_JPEG_END = b"\xff\xd9"
_GREY = ("1", "L", "LA", "I", "I;16", "F")  # PIL's modes of one channel

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ImageFacts:
    """What an image file is.

    Attributes:
        size: Width and height, pixels; None where it cannot be read.
        grey: Whether it has one channel.
        problem: What is wrong with it; None where it can be read.
    """

    size: tuple[int, int] | None = None
    grey: bool = False
    problem: str | None = None


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply a function that waits for the disk to many items; results in their order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))


def look_at_image(file: Path, min_side: int = 1) -> ImageFacts:
    """Read an image's header, and decode it only where nothing cheaper tells whether it is whole."""
    try:
        with Image.open(file) as image:
            size, grey, kind = image.size, image.mode in _GREY, image.format
            image.verify()  # the checksums of a PNG, nothing for most others
        if kind != "PNG" and not (kind in ("JPEG", "MPO") and _has_end(file)):
            with Image.open(file) as image:
                image.load()
    except FileNotFoundError:
        return ImageFacts(problem=f"{file}: no such image")
    except (
        UnidentifiedImageError,
        ImportError,
    ):  # Ultralytics makes PIL look for an HEIF plugin, too
        return ImageFacts(problem=f"{file}: cannot be read as an image: {_unknown(file)}")
    except Exception as error:  # PIL's decoders raise errors of many kinds on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        return ImageFacts(problem=f"{file}: cannot be read as an image: {reason}")
    if min(size) < min_side:
        told = f"{file}: expected at least {min_side} pixels a side, got {size[0]} x {size[1]}"
        return ImageFacts(problem=told)
    return ImageFacts(size, grey)


def open_rgb(file: str | Path) -> Image.Image:
    """Read an image as RGB, one of 16 bits by its upper eight, as OpenCV does; PIL would cut it off at 255."""
    with Image.open(file) as image:
        if image.mode.startswith("I"):
            deep = np.asarray(image).clip(0, 2**16 - 1)
            return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


def _unknown(file: Path) -> str:
    return "unknown format" if file.stat().st_size else "the file is empty"


def _has_end(file: Path) -> bool:
    """Whether a JPEG has its end marker last, as Ultralytics checks; some cameras write more behind it.

    Raises:
        OSError: There are zeros in place of its end, as a crash leaves them; decoders would take them for pixels.
    """
    with file.open("rb") as content:
        content.seek(-len(_JPEG_END), 2)
        last = content.read()
    if last == bytes(len(_JPEG_END)) and not file.read_bytes().rstrip(b"\0").endswith(_JPEG_END):
        raise OSError("image file is truncated: zeros in place of its end")
    return last == _JPEG_END
