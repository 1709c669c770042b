"""Detection images in memory: read once by Ultralytics' dataset, letterboxed onto one canvas, kept as bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch  # before Ultralytics, which otherwise sets OMP_NUM_THREADS to 1
from torch import Tensor

from spnas.errors import DataError
from spnas.tasks.images import in_threads

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.utils import LOGGER

STRIDE = 32
GREY = 114  # what Ultralytics pads with
# Images stay in memory where they take less than one over this of what is free.
_HOST_SHARE, _CUDA_SHARE = 2, 4


class ReadOnlyDataset(YOLODataset):
    """Ultralytics' dataset without its cache file in the user's folder.

    Stock writes `labels.cache` beside the labels, deleting an old one first, on which two worker processes can collide.
    An existing cache is still read.
    """

    def cache_labels(self, path: Path = Path("./labels.cache")) -> Any:
        """Scan images and labels as stock does, with the cache file in a folder that is thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            return super().cache_labels(Path(folder) / path.name)


def open_dataset(paths: Sequence[Path], names: dict[int, str], imgsz: int, **options: Any) -> Any:
    """Open a split without augmentation; nothing is decoded yet.

    Args:
        paths: Folders of images, or text files naming one image a line.
        names: Class names.
        imgsz: Length that the longer side of an image is resized to, pixels.
        options: More arguments of Ultralytics' `YOLODataset`.

    Raises:
        DataError: The split cannot be opened.
    """
    hyp = get_cfg(overrides={"task": "detect", "imgsz": imgsz, "deterministic": False})
    data = {"names": names, "nc": len(names), "channels": 3}
    with quiet():
        try:
            return ReadOnlyDataset(
                img_path=[str(path) for path in paths],
                imgsz=imgsz,
                augment=False,
                hyp=hyp,
                stride=STRIDE,
                data=data,
                task="detect",
                **options,
            )
        except (FileNotFoundError, RuntimeError, ValueError) as error:
            raise DataError(" ".join(str(error).split())) from error


@dataclass(frozen=True)
class Boxes:
    """Labelled objects of some images.

    Attributes:
        image: Which of the images each is in, `(M,)`.
        label: Class numbers, `(M,)`.
        corners: Left, top, right, bottom on the canvas, pixels, `(M, 4)`.
    """

    image: Tensor
    label: Tensor
    corners: Tensor

    def __getitem__(self, kept: Tensor) -> Boxes:
        """Take some of the objects."""
        return Boxes(self.image[kept], self.label[kept], self.corners[kept])


class LetterboxedImages:
    """A split's images, centred on canvases of one size, the smallest of whole strides that holds each of them.

    Where all images are wider than high, as a camera makes them, the canvas is too: a square one would spend a quarter
    to almost a half of the training on padding. Images that take too much memory are decoded anew each time.

    Args:
        dataset: The split, of `open_dataset`.
        device: Where batches go.

    Attributes:
        size: Height and width of the canvas, pixels.
    """

    def __init__(self, dataset: Any, device: torch.device) -> None:
        self._dataset = dataset
        self.device = device
        sizes = [_resized(label["shape"], dataset.imgsz) for label in dataset.labels]
        self.size = _canvas(sizes)
        self._boxes = [
            torch.from_numpy(_corners(label["bboxes"], size, self._corner(size)))
            for label, size in zip(dataset.labels, sizes, strict=True)
        ]
        self._labels = [torch.from_numpy(label["cls"].ravel()) for label in dataset.labels]
        home = memory_for(len(self) * 3 * math.prod(self.size), device)
        self._pixels = None if home is None else self._read(range(len(self))).to(home)

    def __len__(self) -> int:
        """Count the images."""
        return len(self._dataset)

    def pixels(self, chosen: Tensor) -> Tensor:
        """Give images `(N, 3, H, W)` as bytes on the device, red first.

        Args:
            chosen: Their numbers, `(N,)`, on the CPU.
        """
        if self._pixels is None:
            return self._read(chosen.tolist()).to(self.device)
        return self._pixels[chosen.to(self._pixels.device)].to(self.device)

    def boxes(self, chosen: Tensor) -> Boxes:
        """Give the objects of some images, on the CPU."""
        numbers = chosen.tolist()
        corners = [self._boxes[number] for number in numbers]
        counts = torch.tensor([len(part) for part in corners])
        image = torch.arange(len(numbers)).repeat_interleave(counts)
        return Boxes(image, torch.cat([self._labels[n] for n in numbers]), torch.cat(corners))

    def _read(self, numbers: Sequence[int]) -> Tensor:
        images = torch.full((len(numbers), 3, *self.size), GREY, dtype=torch.uint8)

        def read(position: int) -> None:
            image = self._dataset.load_image(numbers[position])[0]  # (h, w, 3), blue first
            left, top = self._corner(image.shape[:2])
            height, width = image.shape[:2]
            pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)
            images[position, :, top : top + height, left : left + width] = pixels

        in_threads(read, range(len(numbers)))
        return images

    def _corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """Give where an image of this height and width begins on the canvas: left, top."""
        return (self.size[1] - size[1]) // 2, (self.size[0] - size[0]) // 2


def _resized(shape: tuple[int, int], imgsz: int) -> tuple[int, int]:
    """Give the height and width of an image whose longer side is resized to `imgsz`, as Ultralytics rounds them."""
    ratio = imgsz / max(shape)
    height, width = (min(math.ceil(side * ratio), imgsz) for side in shape)
    return height, width


def _canvas(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Give the smallest height and width of whole strides that hold each of these."""
    height, width = (math.ceil(max(side) / STRIDE) * STRIDE for side in zip(*sizes, strict=True))
    return height, width


def _corners(boxes: Any, size: tuple[int, int], corner: tuple[int, int]) -> Any:
    """Turn centres and sizes, as shares of an image `(M, 4)`, into pixels of its canvas."""
    scaled = boxes * np.array([size[1], size[0]] * 2, dtype=np.float32)
    centre, half = scaled[:, :2] + np.array(corner, dtype=np.float32), scaled[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], 1)


def memory_for(size: int, device: torch.device) -> torch.device | None:
    """Say where to keep images: on the device, in the host's memory, or, where they take too much, nowhere.

    Args:
        size: What they take, bytes.
        device: Where they are used.
    """
    if device.type == "cuda" and size * _CUDA_SHARE < torch.cuda.mem_get_info(device)[0]:
        return device
    if size * _HOST_SHARE < psutil.virtual_memory().available:
        return torch.device("cpu") if device.type == "cuda" else device
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Ultralytics from printing notes, and progress bars that it shows at any log level."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        LOGGER.setLevel(level)
