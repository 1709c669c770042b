"""What Ultralytics gives back and raises, as spnas tells it."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from ultralytics.utils.metrics import DetMetrics

from spnas.errors import TrainingError
from spnas.finish import yolo


def test_figures_are_read_from_metrics_and_from_what_several_gpus_leave_of_them() -> None:
    """After a training on several GPUs Ultralytics has a dictionary of the same figures, from the checkpoint."""
    metrics = DetMetrics({0: "thing"})
    hits, scores = np.ones((4, 10), dtype=bool), np.array([0.9, 0.8, 0.7, 0.6])
    hits[3] = False
    labels = np.zeros(4)
    metrics.box.nc = 1
    found = {"tp": [hits], "conf": [scores], "pred_cls": [labels], "target_cls": [labels]}
    found |= {"target_img": [np.array([0])]}
    metrics.stats = {**metrics.stats, **found}
    metrics.process()
    figures = yolo._scores(metrics)
    assert figures == yolo._scores(metrics.results_dict)
    assert figures["map50_95"] == pytest.approx(float(metrics.box.map))
    assert figures["map50"] == pytest.approx(float(metrics.box.map50))
    assert figures["precision"] == pytest.approx(float(metrics.box.mp))
    assert 0 < figures["recall"] == pytest.approx(float(metrics.box.mr))


def test_a_process_of_several_that_fails_is_told_in_a_line() -> None:
    with (
        pytest.raises(TrainingError, match=r"Ultralytics: Command .* returned non-zero"),
        yolo._errors_of_ultralytics(),
    ):
        raise subprocess.CalledProcessError(1, ["torch.distributed.run", "ddp.py"])
