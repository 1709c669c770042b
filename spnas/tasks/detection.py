"""Object detection on Ultralytics' own data pipeline, loss and mAP, without its trainer."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch  # before Ultralytics, which otherwise sets OMP_NUM_THREADS to 1
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from spnas.errors import DataError
from spnas.tasks.base import DETECTION_COLUMNS, Score
from spnas.tasks.batches import split_batches
from spnas.tasks.detection_data import locate_detection

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import LOGGER
from ultralytics.utils.nms import non_max_suppression

STRIDE = 32
VAL_BATCH = (
    16  # YOLO.val's default: with rect=True the batch decides the padded shapes, hence the mAP
)
CALIBRATION_BATCH = 32
# A short schedule has no time for mosaic's harder images.
AUGMENTATION = {"mosaic": 0.0, "translate": 0.1, "scale": 0.3, "fliplr": 0.5}


class DetectionTask:
    """Detection on a data.yaml in Ultralytics' format; `map50_95` equals `YOLO.val` on the same weights.

    Args:
        data: The data.yaml; None for the embedded set.
        imgsz: Height and width of the square training input, pixels, a multiple of 32.
        device: Where batches go.
        workers: Processes that load and augment images; the batches do not depend on their number.

    Raises:
        DataError: The data set cannot be opened, or `imgsz` is not a multiple of 32.
    """

    kind = "detect"
    metric = "map50_95"
    columns: tuple[str, ...] = DETECTION_COLUMNS

    def __init__(
        self, data: str | None, *, imgsz: int, device: torch.device, workers: int = 0
    ) -> None:
        if imgsz <= 0 or imgsz % STRIDE:
            raise DataError(f"imgsz: expected a multiple of {STRIDE} pixels, got {imgsz}")
        info = locate_detection(data)
        self.num_classes = info.num_classes
        self.imgsz = imgsz
        self.device = device
        self._workers = workers
        self._names = dict(enumerate(info.names))
        self._data = {"names": self._names, "nc": info.num_classes, "channels": 3}
        self._hyp = get_cfg(overrides={"task": "detect", "imgsz": imgsz, "deterministic": False})
        vars(self._hyp).update(AUGMENTATION, augmentations=[])
        if data is None:
            self._hyp.fliplr = (
                0.0  # a mirrored digit is no digit: .47 against .37 mAP50-95 after 12 epochs
            )
        self._train = self._dataset(info.train, augment=True)
        self._val = self._dataset(info.val, augment=False)
        self._plain = copy.copy(self._train)  # the same images in memory, without augmentation
        self._plain.augment = False
        self._plain.transforms = self._plain.build_transforms(copy.copy(self._hyp))
        self._validator = self._make_validator(info.source)
        self.train_images = len(self._train)

    def _dataset(self, paths: tuple[Path, ...], *, augment: bool) -> YOLODataset:
        with _quiet(), _isolated_rng(0):
            try:
                return _ReadOnlyDataset(
                    img_path=[str(path) for path in paths],
                    imgsz=self.imgsz,
                    batch_size=VAL_BATCH,
                    augment=augment,
                    hyp=self._hyp,
                    rect=not augment,
                    pad=0.0 if augment else 0.5,
                    stride=STRIDE,
                    cache="ram",
                    data=self._data,
                    task="detect",
                )
            except (FileNotFoundError, RuntimeError, ValueError) as error:
                raise DataError(" ".join(str(error).split())) from error

    def _make_validator(self, source: Path) -> _PatientValidator:
        args = {"task": "detect", "imgsz": self.imgsz, "batch": VAL_BATCH, "rect": True}
        quiet = {"plots": False, "save_json": False, "val": False, "verbose": False}
        # An existing folder, since the validator would make one for plots that are never drawn.
        validator = _PatientValidator(
            args={**args, **quiet, "data": str(source)}, save_dir=Path(tempfile.gettempdir())
        )
        validator.training = False
        validator.data = self._data
        validator.stride = STRIDE
        validator.dataloader = DataLoader(
            self._val, batch_size=VAL_BATCH, collate_fn=self._val.collate_fn
        )
        return validator

    def to(self, device: torch.device) -> DetectionTask:
        """Use this device from now on; gives the task itself."""
        self.device = device
        return self

    def attach(self, model: nn.Module) -> None:
        """Set `names`, `nc` and `args`, which Ultralytics' loss and metric read, and let the loss be made anew."""
        attributes: Any = model
        attributes.names = self._names
        attributes.nc = self.num_classes
        attributes.args = self._hyp
        attributes.criterion = None  # holds the device and hyperparameters of an earlier training

    def train_batches(self, batch_size: int, seed: int) -> Iterator[dict[str, Any]]:
        """Iterate over one epoch of augmented batches: `img` `(N, 3, H, W)` in 0..1, `cls`, `bboxes`, `batch_idx`."""
        order = torch.randperm(self.train_images, generator=torch.Generator().manual_seed(seed))
        items = [
            [(index, seed * self.train_images + index) for index in part.tolist()]
            for part in split_batches(order, batch_size)
        ]
        loader: DataLoader[Any] = DataLoader(
            _SeededSamples(self._train),
            batch_sampler=items,
            collate_fn=self._train.collate_fn,
            num_workers=self._workers,
            generator=torch.Generator(),  # else the loader draws from the global one
            pin_memory=self.device.type == "cuda",
        )
        for batch in loader:
            yield self._to_device(batch)

    def _to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        moved = {
            key: value.to(self.device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }
        moved["img"] = moved["img"].float() / 255
        return moved

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Give Ultralytics' box, class and DFL losses, summed, a mean over the batch's images."""
        parts, _ = model.loss(batch)  # type: ignore[operator]
        total: Tensor = (
            parts.sum() / batch["img"].shape[0]
        )  # Ultralytics multiplies by the batch size
        return total

    def calibration_images(self, images: int) -> Iterator[Tensor]:
        """Iterate over letterboxed training images `(N, 3, imgsz, imgsz)` in 0..1, spread evenly over the set."""
        count = min(images, self.train_images)
        chosen = torch.linspace(0, self.train_images - 1, count, dtype=torch.float64).round().long()
        for part in split_batches(chosen, CALIBRATION_BATCH):
            stacked = torch.stack([self._plain[i]["img"] for i in part.tolist()])
            yield stacked.to(self.device).float() / 255

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Score:
        """Give `map50_95` and `map50` on the validation images, exactly as `YOLO.val` does."""
        validator = self._validator
        validator.device = self.device
        with _quiet():
            validator.init_metrics(model.eval())
            for batch in validator.dataloader:
                batch = validator.preprocess(batch)
                validator.update_metrics(validator.postprocess(model(batch["img"])), batch)
            stats = validator.get_stats()
        figures = (stats["metrics/mAP50-95(B)"], stats["metrics/mAP50(B)"])
        return Score(self.metric, dict(zip(self.columns, map(float, figures), strict=True)))

    def example(self, batch_size: int = 1) -> Tensor:
        """Give validation images `(batch_size, 3, imgsz, imgsz)` in 0..1, on the CPU, padded to squares."""
        canvas = torch.full((batch_size, 3, self.imgsz, self.imgsz), 114 / 255)
        for i in range(batch_size):
            image = self._val.load_image(i % len(self._val))[0]  # (h, w, 3), blue first
            pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)
            canvas[i, :, : pixels.shape[1], : pixels.shape[2]] = pixels.float() / 255
        return canvas


class _PatientValidator(DetectionValidator):
    """Ultralytics' validator with no time limit on suppressing overlapping boxes.

    Stock gives up on the rest of a batch after some seconds of wall time and counts nothing as found there: on a busy
    machine a network would score a fraction of its mAP.
    """

    def postprocess(self, preds: Any) -> list[dict[str, Tensor]]:
        """Suppress overlapping boxes as stock does; a dictionary of `bboxes`, `conf`, `cls`, `extra` an image."""
        found = non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            multi_label=True,
            agnostic=self.args.single_cls or self.args.agnostic_nms,
            max_time_img=math.inf,
            max_det=self.args.max_det,
            end2end=self.end2end,
        )
        return [
            {"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in found
        ]


class _ReadOnlyDataset(YOLODataset):
    """Ultralytics' dataset that leaves the user's folder as it is.

    Stock writes `labels.cache` beside the labels, deleting an old one first, on which two worker processes can collide.
    An existing cache is still read.
    """

    def cache_labels(self, path: Path = Path("./labels.cache")) -> Any:
        """Scan images and labels as stock does, with the cache file in a folder that is thrown away."""
        with tempfile.TemporaryDirectory() as folder:
            return super().cache_labels(Path(folder) / path.name)


class _SeededSamples(Dataset[dict[str, Any]]):
    """Augments sample `index` with random numbers from `seed` alone, whatever process does it and in what order."""

    def __init__(self, dataset: YOLODataset) -> None:
        self._dataset = dataset

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        """Give the augmented sample."""
        index, seed = item
        with _isolated_rng(seed):
            sample: dict[str, Any] = self._dataset[index]
            return sample


@contextlib.contextmanager
def _isolated_rng(seed: int) -> Iterator[None]:
    """Seed the global generators that Ultralytics draws from, and put them back after."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ultralytics from printing notes, and progress bars that it shows at any log level."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        LOGGER.setLevel(level)
