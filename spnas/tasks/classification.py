"""Image classification on folders of images, held in memory and augmented a batch at a time on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from spnas.errors import DataError
from spnas.tasks.base import CLASSIFICATION_COLUMNS, Score
from spnas.tasks.batches import sample, split_batches
from spnas.tasks.classification_data import locate_classification
from spnas.tasks.images import open_rgb

# Of ImageNet, as torchvision's pretrained weights expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

BATCH = 128  # of validation
CALIBRATION_BATCH = 32
SHIFT, SCALE, DEGREES = 0.1, 0.1, 10.0  # share of the image, share, degrees: each drawn from -x..x

Batch = tuple[Tensor, Tensor]  # images (N, 3, H, W), labels (N,)


class ClassificationTask:
    """Classification of `train/<class>/*` and `val/<class>/*`, scored by top-1 accuracy.

    Images are resized by their shorter side and cut to the centre, once. Training shifts, scales and turns them a
    little; it never mirrors them, which would make other digits, letters or signs of them.

    Args:
        data: The folder; None for the embedded set.
        imgsz: Height and width of the input, pixels.
        device: Where batches go.

    Raises:
        DataError: The data set cannot be opened.
    """

    kind = "classify"
    metric = "top1"
    columns: tuple[str, ...] = CLASSIFICATION_COLUMNS

    def __init__(self, data: str | None, *, imgsz: int, device: torch.device) -> None:
        info = locate_classification(data)
        self.num_classes = info.num_classes
        self.imgsz = imgsz
        self.device = device
        self._names = info.names
        self._train = self._load(info.train[0])
        self._val = self._load(info.val[0])
        self.train_images = len(self._train[1])

    def _load(self, folder: Path) -> Batch:
        """Decode a split into uint8 images `(N, 3, imgsz, imgsz)` and labels `(N,)`, on the CPU."""
        read = v2.Compose([v2.Resize(self.imgsz), v2.CenterCrop(self.imgsz), v2.PILToTensor()])
        try:
            files = ImageFolder(str(folder), transform=read, loader=open_rgb)
            if tuple(files.classes) != self._names:
                raise DataError(f"{folder}: expected the classes of train, got {files.classes}")
            images = torch.empty(len(files), 3, self.imgsz, self.imgsz, dtype=torch.uint8)
            for i in range(len(files)):
                images[i] = files[i][0]
        except OSError as error:
            raise DataError(f"{folder}: {error}") from error
        return images, torch.tensor(files.targets)

    def to(self, device: torch.device) -> ClassificationTask:
        """Use this device from now on; gives the task itself."""
        self.device = device
        return self

    def attach(self, model: nn.Module) -> None:
        """Do nothing: cross entropy needs only the logits."""

    def train_batches(self, batch_size: int, seed: int) -> Iterator[Batch]:
        """Iterate over one epoch of augmented images `(N, 3, imgsz, imgsz)`, normalized, with labels `(N,)`."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.train_images, generator=generator)
        images, labels = self._train
        for chosen in split_batches(order, batch_size):
            batch = self._normalize(images[chosen])
            yield _augment(batch, generator), labels[chosen].to(self.device)

    def _normalize(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device).float() / 255
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        return (pixels - mean) / std

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the cross entropy, a mean over the batch."""
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def calibration_images(self, images: int, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over augmented, normalized training images `(N, 3, imgsz, imgsz)`."""
        generator = torch.Generator().manual_seed(seed)
        order = sample(self.train_images, images, generator)
        for chosen in split_batches(order, CALIBRATION_BATCH):
            yield _augment(self._normalize(self._train[0][chosen]), generator)

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Score:
        """Give the share of validation images whose highest logit is their class, and its binomial spread."""
        model.eval()
        right = 0
        for images, labels in zip(*(torch.split(part, BATCH) for part in self._val), strict=True):
            predicted = model(self._normalize(images)).argmax(1).cpu()
            right += int((predicted == labels).sum())
        images = len(self._val[1])
        share = right / images
        spread = math.sqrt(share * (1 - share) / images)
        return Score(self.metric, {self.metric: share}, {self.metric: spread})

    def example(self, batch_size: int = 1) -> Tensor:
        """Give normalized validation images `(batch_size, 3, imgsz, imgsz)`, on the CPU."""
        chosen = torch.arange(batch_size) % len(self._val[1])
        return self._normalize(self._val[0][chosen]).cpu()


def _augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, scale and turn each image of `(N, 3, H, W)` a little, continuing its border outwards."""
    drawn = torch.rand(4, len(images), generator=generator).to(images.device) * 2 - 1
    angle, scale = torch.deg2rad(drawn[0] * DEGREES), 1 + drawn[1] * SCALE
    shift = drawn[2:] * SHIFT * 2  # the sampling grid is 2 wide
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([cosine, -sine, shift[0], sine, cosine, shift[1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
