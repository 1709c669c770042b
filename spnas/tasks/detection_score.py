"""mAP exactly as `YOLO.val` computes it, on validation batches that stay in memory."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spnas.tasks.bootstrap import draw_images, match, mean_average_precision
from spnas.tasks.detection_images import GREY, memory_for, open_dataset, quiet

# After the settings that hold it offline.
# isort: split
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils.nms import non_max_suppression

Figures = tuple[float, float]  # mAP50-95, mAP50

BATCH = 16  # YOLO.val's default: with rect=True the batch decides the padded shapes, hence the mAP


class Validation:
    """The validation images and Ultralytics' validator.

    Args:
        paths: Where the images are.
        names: Class names.
        imgsz: Length of an image's longer side, pixels.
        device: Where the model is.

    Raises:
        DataError: The images cannot be opened.
    """

    def __init__(
        self, paths: Sequence[Path], names: dict[int, str], *, imgsz: int, device: torch.device
    ) -> None:
        self.device = device
        self._imgsz = imgsz
        self._dataset = open_dataset(paths, names, imgsz, rect=True, batch_size=BATCH, pad=0.5)
        self._batches: Iterable[dict[str, Any]] = DataLoader(
            self._dataset, batch_size=BATCH, collate_fn=self._dataset.collate_fn
        )
        shapes = self._dataset.batch_shapes[self._dataset.batch]
        home = memory_for(int(3 * shapes.prod(1).sum()), device)
        if home is not None:
            self._batches = [{**batch, "img": batch["img"].to(home)} for batch in self._batches]
        self._resamples = draw_images(len(self._dataset))
        self._validator = _make_validator(imgsz, names)
        self._validator.dataloader = DataLoader(self._dataset)  # only asked for its data set

    @torch.no_grad()
    def score(self, model: nn.Module) -> tuple[Figures, Figures]:
        """Give mAP50-95 and mAP50 of a model in eval mode, and their standard deviations over resampled images."""
        validator = self._validator
        with quiet():
            validator.init_metrics(model.eval())
            for batch in self._batches:
                images = batch["img"].to(self.device).float() / 255
                found = validator.postprocess(model(images))
                on_cpu = [{key: value.cpu() for key, value in image.items()} for image in found]
                validator.update_metrics(on_cpu, batch)
            resampled = mean_average_precision(match(validator.metrics.stats), self._resamples)
            stats = validator.get_stats()
        figures = float(stats["metrics/mAP50-95(B)"]), float(stats["metrics/mAP50(B)"])
        return figures, (float(resampled.mean(1).std()), float(resampled[:, 0].std()))

    def squares(self, count: int) -> Tensor:
        """Give images `(count, 3, imgsz, imgsz)` in 0..1, on the CPU, padded at the right and bottom."""
        canvas = torch.full((count, 3, self._imgsz, self._imgsz), GREY / 255)
        for i in range(count):
            image = self._dataset.load_image(i % len(self._dataset))[0]  # (h, w, 3), blue first
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


def _make_validator(imgsz: int, names: dict[int, str]) -> Any:
    """Make the validator that `YOLO.val` would use, on the CPU, where matching boxes is fastest."""
    args = {"task": "detect", "imgsz": imgsz, "batch": BATCH, "rect": True}
    silent = {"plots": False, "save_json": False, "val": False, "verbose": False}
    # An existing folder, since the validator would make one for plots that are never drawn.
    validator = _PatientValidator(args={**args, **silent}, save_dir=Path(tempfile.gettempdir()))
    validator.training = False
    validator.data = {"names": names, "nc": len(names), "channels": 3}
    validator.stride = 32
    validator.device = torch.device("cpu")
    return validator
