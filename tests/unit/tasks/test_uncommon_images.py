"""Images of odd sizes and few channels, and a single class, train like any others."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from spnas.networks import get_network
from spnas.tasks import check_data, open_task
from spnas.tasks.images import open_rgb
from spnas.training import Schedule, train

FORMS = [  # width, height, PIL's mode, suffix
    (37, 53, "RGB", "png"),
    (641, 479, "L", "jpg"),
    (11, 300, "RGB", "jpg"),
    (97, 31, "RGBA", "png"),
    (64, 64, "P", "png"),
    (33, 65, "CMYK", "jpg"),
    (50, 40, "1", "png"),
    (40, 50, "LA", "png"),
]


def _save_images(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    files = []
    for number, (width, height, mode, suffix) in enumerate(FORMS):
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        files.append(folder / f"{number}.{suffix}")
        Image.fromarray(pixels).convert(mode).save(files[-1])
    return files


@pytest.fixture
def one_class_detection(tmp_path: Path) -> str:
    for split in ("train", "val"):
        (tmp_path / "labels" / split).mkdir(parents=True)
        for file in _save_images(tmp_path / "images" / split):
            label = tmp_path / "labels" / split / f"{file.stem}.txt"
            label.write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [thing]\n")
    return str(tmp_path / "data.yaml")


@pytest.fixture
def one_class_classification(tmp_path: Path) -> str:
    for split in ("train", "val"):
        _save_images(tmp_path / "folder" / split / "thing")
    return str(tmp_path / "folder")


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_as_in_detection(suffix: str, tmp_path: Path) -> None:
    """PIL alone makes all that is above 255 white; OpenCV, which reads detection's images, scales."""
    deep = np.linspace(0, 65535, 64 * 48, dtype=np.uint16).reshape(48, 64)
    file = tmp_path / f"x-ray.{suffix}"
    Image.fromarray(deep).save(file)
    read = np.asarray(open_rgb(file))
    np.testing.assert_array_equal(read, cv2.imread(str(file))[..., ::-1])
    assert len(np.unique(read)) > 200


@pytest.mark.parametrize(
    ("kind", "network", "imgsz"),
    [("detect", "yolov8n", 64), ("classify", "resnet20-cifar", 32)],
)
def test_they_train(kind: str, network: str, imgsz: int, request: pytest.FixtureRequest) -> None:
    name = "one_class_detection" if kind == "detect" else "one_class_classification"
    data = request.getfixturevalue(name)
    info = check_data(kind, data)
    assert (info.train_images, info.val_images) == (len(FORMS), len(FORMS))
    task = open_task(kind, data, imgsz=imgsz, device=torch.device("cpu"))
    assert task.train_images == len(FORMS)
    torch.manual_seed(0)
    model = get_network(network).build(info.num_classes)
    result = train(model, task, Schedule(epochs=1, batch_size=4, calibration=8), seed=0)
    assert 0 <= result.score.value <= 1
