"""How far a score would wander on other validation images: a bootstrap over the images.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993. Boxes are matched once; a resample weighs each image by
how often it was drawn, so that its mean average precision is a matter of weighted sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 200
# COCO's 101 points, as Ultralytics integrates over; torch rounds some of them otherwise, and a recall may equal one.
_RECALLS = torch.from_numpy(np.linspace(0, 1, 101))
_MOST = 4_000_000  # weights in memory at once


@dataclass(frozen=True)
class Matches:
    """Detections and objects of a validation set, matched.

    Attributes:
        image: Number of the image that each detection is in, `(D,)`.
        confidence: `(D,)`.
        label: Class that each detection names, `(D,)`.
        correct: Whether it found an object, at each of T overlaps, `(D, T)`.
        object_image: Number of the image that each object is in, `(M,)`.
        object_label: Its class, `(M,)`.
    """

    image: Tensor
    confidence: Tensor
    label: Tensor
    correct: Tensor
    object_image: Tensor
    object_label: Tensor


def draw_images(images: int, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Draw as many images as there are, with replacement, again and again.

    Returns:
        How often each was drawn, `(resamples, images)`.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(images, (resamples, images), generator=generator)
    ones = torch.ones(drawn.shape, dtype=torch.float64)
    return torch.zeros(resamples, images, dtype=torch.float64).scatter_add_(1, drawn, ones)


def mean_average_precision(matches: Matches, weights: Tensor) -> Tensor:
    """Compute mAP on weighted images, as Ultralytics does on images repeated that often.

    Args:
        matches: What was found.
        weights: How often each image counts, `(R, images)`, double precision.

    Returns:
        Mean over the classes that have objects, `(R, T)`.
    """
    total = torch.zeros(len(weights), matches.correct.shape[1], dtype=torch.float64)
    classes = torch.zeros(len(weights), 1, dtype=torch.float64)
    for label in torch.unique(matches.object_label):
        objects = weights[:, matches.object_image[matches.object_label == label]].sum(1)
        found = (matches.label == label).nonzero().squeeze(1)
        found = found[matches.confidence[found].argsort(descending=True, stable=True)]
        rows = max(1, _MOST // max(1, len(found)))
        parts = zip(torch.split(weights, rows), torch.split(objects, rows), strict=True)
        image, correct = matches.image[found], matches.correct[found]
        total += torch.cat([_average_precision(w[:, image], correct, n) for w, n in parts])
        classes += (objects > 0)[:, None]
    return total / classes.clamp(min=1)


def _average_precision(weights: Tensor, correct: Tensor, objects: Tensor) -> Tensor:
    """Compute one class's average precision, `(R, T)`, 0 where a resample has no object of it.

    Between two correct detections the highest precision still to come is that of the second one, whatever the wrong
    ones between: looking at the correct ones alone is exact.

    Args:
        weights: How often each detection counts, most confident first, `(R, D)`.
        correct: Whether it is correct, `(D, T)`.
        objects: Number of objects, weighted, `(R,)`.
    """
    seen = weights.cumsum(1)
    found = torch.zeros(len(weights), correct.shape[1], dtype=torch.float64)
    for column in range(correct.shape[1]):
        right = correct[:, column].nonzero().squeeze(1)
        if not len(right):
            continue
        hits = weights[:, right].cumsum(1)
        precision = hits / seen[:, right].clamp(min=1)
        ahead = precision.flip(1).cummax(1).values.flip(1)
        recall = hits / objects.clamp(min=1)[:, None]
        points = _RECALLS.repeat(len(weights), 1)
        first = torch.searchsorted(recall, points, right=True)
        padded = torch.cat([ahead, torch.zeros(len(weights), 1, dtype=torch.float64)], 1)
        found[:, column] = torch.trapezoid(padded.gather(1, first), _RECALLS, dim=1)
    return found * (objects > 0)[:, None]


def match(stats: dict[str, list[Any]]) -> Matches:
    """Gather what Ultralytics' validator keeps of each image, `tp`, `conf`, `pred_cls` and `target_cls`."""
    found, objects = (torch.tensor([len(v) for v in stats[k]]) for k in ("conf", "target_cls"))
    numbers = torch.arange(len(found))

    def joined(key: str) -> Tensor:
        return torch.cat([torch.as_tensor(part) for part in stats[key]])

    return Matches(
        numbers.repeat_interleave(found),
        joined("conf"),
        joined("pred_cls"),
        joined("tp"),
        numbers.repeat_interleave(objects),
        joined("target_cls"),
    )
