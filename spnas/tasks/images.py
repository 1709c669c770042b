"""Whether image files can be read, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

MIN_SIDE = 10  # pixels; Ultralytics leaves smaller images out

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Apply a function that waits for the disk to many items; results in their order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))


def image_problem(file: Path, min_side: int = 1) -> str | None:
    """Say what is wrong with an image's header; None where it can be read. Pixels are not decoded."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            image.verify()
    except FileNotFoundError:
        return f"{file}: no such image"
    except (
        UnidentifiedImageError,
        ImportError,
    ):  # Ultralytics makes PIL look for an HEIF plugin, too
        return f"{file}: cannot be read as an image: unknown format"
    except Exception as error:  # PIL's decoders raise errors of many kinds on broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{file}: cannot be read as an image: {reason}"
    if min(width, height) < min_side:
        return f"{file}: expected at least {min_side} pixels a side, got {width} x {height}"
    return None
