"""The embedded sets are real digits, made the same each time and whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spnas.tasks.data import embedded_classification, embedded_detection, scenes, store
from spnas.tasks.data.digits import load_split, write_digits
from spnas.tasks.data.scenes import CLASSES, IMAGES, SIZE, write_scenes


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "spnas"


@pytest.mark.parametrize("write", [write_scenes, write_digits])
def test_the_same_bytes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(scenes, "IMAGES", {"train": 12, "val": 6})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")


def test_scenes_hold_labelled_digits_that_stand_out(cache: Path) -> None:
    folder = embedded_detection()
    assert folder == cache / "digits-detect-v1"
    seen = set()
    for split, count in IMAGES.items():
        labels = sorted((folder / "labels" / split).iterdir())
        assert len(labels) == len(list((folder / "images" / split).iterdir())) == count
        for file in labels:
            rows = np.loadtxt(file, ndmin=2)
            assert 1 <= len(rows) <= 6
            seen |= set(rows[:, 0].astype(int))
            corners = np.hstack([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2])
            assert corners.min() >= -1e-6
            assert corners.max() <= 1 + 1e-6
    assert seen == set(range(len(CLASSES)))


def test_a_box_holds_its_digit(cache: Path) -> None:
    """Pixels far from the background's colour lie in the boxes, not outside."""
    folder = embedded_detection()
    inside, outside = [], []
    for file in sorted((folder / "images" / "val").iterdir())[:20]:
        pixels = np.asarray(Image.open(file), dtype=float)
        contrast = np.abs(pixels - np.median(pixels, axis=(0, 1))).mean(2)
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        text = folder / "labels" / "val" / f"{file.stem}.txt"
        for _, x, y, w, h in np.loadtxt(text, ndmin=2):
            rows = slice(round((y - h / 2) * SIZE), round((y + h / 2) * SIZE))
            mask[rows, round((x - w / 2) * SIZE) : round((x + w / 2) * SIZE)] = True
        inside.append(contrast[mask].mean())
        outside.append(contrast[~mask].mean())
    assert np.mean(inside) > 1.5 * np.mean(outside)


def test_train_and_val_share_no_digit() -> None:
    (train, _), (val, _) = load_split(True), load_split(False)
    assert len(train) + len(val) == 1797
    assert not {x.tobytes() for x in train} & {x.tobytes() for x in val}


def test_digits_are_an_image_folder(cache: Path) -> None:
    folder = embedded_classification()
    assert sorted(path.name for path in (folder / "train").iterdir()) == list("0123456789")
    assert len(list(folder.rglob("*.png"))) == 960


def test_a_set_that_could_not_be_finished_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(store, "write_digits", broken)
    with pytest.raises(OSError, match="disk full"):
        embedded_classification()
    assert list(cache.iterdir()) == []


def test_of_two_makers_one_wins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slower(folder: Path) -> None:
        winner = cache / "digits-classify-v1"
        winner.mkdir()
        (winner / "first").touch()
        (folder / "second").touch()

    monkeypatch.setattr(store, "write_digits", slower)
    assert [path.name for path in embedded_classification().iterdir()] == ["first"]
    assert [path.name for path in cache.iterdir()] == ["digits-classify-v1"]
