"""Object detection with Ultralytics' loss and mAP, on images in memory, without its trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from spnas.errors import DataError
from spnas.tasks.base import DETECTION_COLUMNS, Score
from spnas.tasks.batches import sample, split_batches
from spnas.tasks.detection_augment import Augmentation
from spnas.tasks.detection_data import locate_detection
from spnas.tasks.detection_images import STRIDE, Boxes, LetterboxedImages, open_dataset
from spnas.tasks.detection_score import Validation

from ultralytics.cfg import get_cfg  # isort: skip - after the settings that hold it offline

CALIBRATION_BATCH = 8


class DetectionTask:
    """Detection on a data.yaml in Ultralytics' format; `map50_95` equals `YOLO.val` on the same weights.

    Args:
        data: The data.yaml; None for the embedded set.
        imgsz: Length of an image's longer side, pixels, a multiple of 32.
        device: Where batches go.

    Raises:
        DataError: The data set cannot be opened, or `imgsz` is not a multiple of 32.
    """

    kind = "detect"
    metric = "map50_95"
    columns: tuple[str, ...] = DETECTION_COLUMNS

    def __init__(self, data: str | None, *, imgsz: int, device: torch.device) -> None:
        if imgsz <= 0 or imgsz % STRIDE:
            raise DataError(f"imgsz: expected a multiple of {STRIDE} pixels, got {imgsz}")
        info = locate_detection(data)
        self.num_classes = info.num_classes
        self.imgsz = imgsz
        self._names = dict(enumerate(info.names))
        self._hyp = get_cfg(overrides={"task": "detect", "imgsz": imgsz})
        # A mirrored digit is no digit: .47 against .37 mAP50-95 after 12 epochs.
        self._augment = Augmentation(mirror=0.0) if data is None else Augmentation()
        self._train = LetterboxedImages(open_dataset(info.train, self._names, imgsz), device)
        self._val = Validation(info.val, self._names, imgsz=imgsz, device=device)
        self.train_images = len(self._train)

    def to(self, device: torch.device) -> DetectionTask:
        """Use this device from now on; gives the task itself."""
        self._train.device = self._val.device = device
        return self

    def attach(self, model: nn.Module) -> None:
        """Set `names`, `nc` and `args`, which Ultralytics' loss and metric read, and let the loss be made anew."""
        attributes: Any = model
        attributes.names = self._names
        attributes.nc = self.num_classes
        attributes.args = self._hyp
        attributes.criterion = None  # holds the device and hyperparameters of an earlier training

    def train_batches(self, batch_size: int, seed: int) -> Iterator[dict[str, Tensor]]:
        """Iterate over one epoch of augmented batches: `img` `(N, 3, H, W)` in 0..1, `cls`, `bboxes`, `batch_idx`."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.train_images, generator=generator)
        for chosen in split_batches(order, batch_size):
            images, boxes = self._augmented(chosen, generator)
            yield {"img": images, **self._targets(boxes)}

    def _augmented(self, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Boxes]:
        return self._augment(self._train.pixels(chosen), self._train.boxes(chosen), generator)

    def _targets(self, boxes: Boxes) -> dict[str, Tensor]:
        """Give the objects as Ultralytics' loss reads them: centres and sizes, as shares of the canvas."""
        height, width = self._train.size
        first, last = boxes.corners[:, :2], boxes.corners[:, 2:]
        size = torch.tensor([width, height] * 2)
        shares = torch.cat([(first + last) / 2, last - first], 1) / size
        device = self._train.device
        return {
            "cls": boxes.label[:, None].to(device),
            "bboxes": shares.to(device),
            "batch_idx": boxes.image.float().to(device),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Give Ultralytics' box, class and DFL losses, summed, a mean over the batch's images."""
        parts, _ = model.loss(batch)  # type: ignore[operator]
        total: Tensor = parts.sum() / len(batch["img"])  # Ultralytics multiplies by the batch size
        return total

    def calibration_images(self, images: int, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over augmented training images `(N, 3, H, W)` in 0..1, in batches as small as the training's."""
        generator = torch.Generator().manual_seed(seed)
        order = sample(self.train_images, images, generator)
        for chosen in split_batches(order, CALIBRATION_BATCH):
            yield self._augmented(chosen, generator)[0]

    def evaluate(self, model: nn.Module) -> Score:
        """Give `map50_95` and `map50` on the validation images, as `YOLO.val` does, and a bootstrap's spread."""
        figures, spreads = self._val.score(model)
        named = (dict(zip(self.columns, part, strict=True)) for part in (figures, spreads))
        return Score(self.metric, *named)

    def example(self, batch_size: int = 1) -> Tensor:
        """Give validation images `(batch_size, 3, imgsz, imgsz)` in 0..1, on the CPU, padded to squares."""
        return self._val.squares(batch_size)
