"""The bootstrap of mAP against Ultralytics' own computation on images that are really repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.utils.metrics import ap_per_class

from spnas.tasks import bootstrap
from spnas.tasks.bootstrap import draw_images, match, mean_average_precision

KEYS = ("tp", "conf", "pred_cls", "target_cls")
Stats = dict[str, list[Any]]


def _stats(images: int, classes: int, seed: int = 0) -> Stats:
    """Make what the validator keeps of each image: up to 40 detections, some right, of up to 15 objects."""
    rng = np.random.default_rng(seed)
    stats: Stats = {key: [] for key in KEYS}
    for _ in range(images):
        found, objects = rng.integers(0, 40), rng.integers(0, classes, rng.integers(0, 15))
        conf = np.sort(rng.random(found).astype(np.float32))[::-1].copy()
        named = rng.integers(0, classes, found)
        right = (rng.random(found) * conf)[:, None] > np.linspace(0.2, 0.7, 10)
        for label in range(classes):  # no object is found twice
            for column in range(10):
                hits = np.flatnonzero((named == label) & right[:, column])
                right[hits[(objects == label).sum() :], column] = False
        values = (right, conf, named.astype(np.float32), objects.astype(np.float32))
        for key, value in zip(KEYS, values, strict=True):
            stats[key].append(value)
    return stats


def _repeated(stats: Stats, times: list[int]) -> np.ndarray:
    """mAP at each overlap of a set that holds each image so many times."""
    chosen = [image for image, count in enumerate(times) for _ in range(count)]
    joined = [np.concatenate([stats[key][image] for image in chosen]) for key in KEYS]
    return ap_per_class(*joined)[5].mean(0)


@pytest.mark.parametrize(("images", "classes"), [(25, 3), (6, 1), (12, 8)])
def test_resampled_map_equals_ultralytics_on_repeated_images(images: int, classes: int) -> None:
    """With 12 images and 8 classes some resamples lack a class."""
    stats = _stats(images, classes)
    weights = draw_images(images, 20, seed=1)
    ours = mean_average_precision(match(stats), weights)
    theirs = [_repeated(stats, row.int().tolist()) for row in weights]
    np.testing.assert_allclose(ours.numpy(), np.stack(theirs), atol=1e-12)


def test_parts_of_the_resamples_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matches, weights = match(_stats(10, 2)), draw_images(10, 7)
    whole = mean_average_precision(matches, weights)
    monkeypatch.setattr(bootstrap, "_MOST", 150)
    assert torch.equal(mean_average_precision(matches, weights), whole)


def test_nothing_found_and_nothing_to_find_are_zero() -> None:
    empty = {
        "tp": [np.zeros((0, 10), bool)] * 2,
        "conf": [np.zeros(0)] * 2,
        "pred_cls": [np.zeros(0)] * 2,
    }
    for objects in (np.zeros(0), np.zeros(3)):
        score = mean_average_precision(
            match({**empty, "target_cls": [objects] * 2}), draw_images(2, 3)
        )
        assert score.tolist() == [[0.0] * 10] * 3


def test_each_resample_draws_as_many_images_as_there_are() -> None:
    drawn = draw_images(30, 100)
    assert drawn.sum(1).tolist() == [30.0] * 100
    assert torch.equal(drawn, draw_images(30, 100))
    assert len(drawn.unique(dim=0)) == 100
    torch.testing.assert_close(drawn.mean(0), torch.ones(30, dtype=torch.float64), atol=0.5, rtol=0)
