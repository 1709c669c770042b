"""What is wrong with an ImageFolder is found before training, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from spnas.errors import ConfigError, DataError
from spnas.tasks import check_data
from spnas.tasks.classification_data import IMAGE_SUFFIXES


def _add(root: Path, name: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(file)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("train/a/1.png", "train/a/2.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"):
        _add(tmp_path, name)
    return tmp_path


def _problems(root: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        check_data("classify", str(root))
    return caught.value.problems


def test_a_good_folder_is_counted(root: Path) -> None:
    info = check_data("classify", str(root))
    assert (info.names, info.train_images, info.val_images) == (("a", "b"), 3, 2)


def test_test_serves_as_val(root: Path) -> None:
    (root / "val").rename(root / "test")
    assert check_data("classify", str(root)).val == (root / "test",)


def test_every_problem_is_reported_at_once(root: Path) -> None:
    _add(root, "val/c/1.png")
    (root / "train" / "empty").mkdir()
    (root / "train" / "a" / "broken.jpg").write_text("no")
    (root / "val" / "b" / "1.png").unlink()
    assert sorted(_problems(root)) == sorted(
        [
            f"{root}/train/a/broken.jpg: cannot be read as an image: unknown format",
            f"{root}/train/empty: class 'empty' has no image",
            f"{root}/val: no folder for class 'empty'",
            f"{root}/val/b: class 'b' has no image",
            f"{root}/val/c: class not in train",
        ]
    )


def test_missing_folders(tmp_path: Path) -> None:
    assert _problems(tmp_path / "nowhere") == [
        f"{tmp_path}/nowhere: expected a folder with train/<class> and val/<class>, got none"
    ]
    assert _problems(tmp_path) == [
        f"{tmp_path}/{split}: no such folder" for split in ("train", "val")
    ]
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    assert _problems(tmp_path) == [f"{tmp_path}/train: expected one folder a class, got none"]


def test_suffixes_are_those_of_torchvision() -> None:
    assert set(IMG_EXTENSIONS) == IMAGE_SUFFIXES


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'segment', known: classify, detect"):
        check_data("segment", None)
