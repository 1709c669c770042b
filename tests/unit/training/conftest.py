"""A real base network, briefly trained on the embedded digits, which tests leave as it is; and a tiny data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from spnas.networks import get_network
from spnas.tasks import Task, open_task
from spnas.tasks.classification import ClassificationTask
from spnas.training import Schedule, train


@pytest.fixture(scope="module")
def digits() -> Task:
    return open_task("classify", None, imgsz=32, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def base(digits: Task) -> nn.Module:
    torch.manual_seed(0)
    network = get_network("resnet20-cifar").build(10)
    train(network, digits, Schedule(epochs=2, batch_size=32), seed=0)
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise that differ in brightness, 24 images each to train on, 8 to validate."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 8)):
        for name, level in (("dark", 100), ("light", 140)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(level, 30, (12, 12, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def task(folder: Path) -> ClassificationTask:
    opened = open_task("classify", str(folder), imgsz=12, device=torch.device("cpu"))
    assert isinstance(opened, ClassificationTask)
    return opened
