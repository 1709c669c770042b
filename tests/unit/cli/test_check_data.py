"""`spnas check-data`: what there is, what is wrong with it, and whether a search would refuse it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from spnas.cli import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images a split, one of them grey and without an object."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (60, 40)).save(tmp_path / "images" / split / "a.png")
        Image.new("L", (300, 20)).save(tmp_path / "images" / split / "b.png")
        (tmp_path / "labels" / split / "a.txt").write_text(
            "0 .5 .5 .2 .2\n0 .4 .4 .1 .1\n1 .5 .5 1 1\n"
        )
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    return tmp_path


def test_what_there_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(root / "data.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["names"], found["problems"]) == ("detect", ["cat", "dog"], [])
    assert found["train"] == {
        "images": 2,
        "background": 1,
        "grey": 1,
        "objects": [2, 1],
        "smallest": [60, 40],
        "largest": [300, 20],
    }
    assert main(["check-data", str(root / "data.yaml"), "--imgsz", "96"]) == 0
    out, err = capsys.readouterr()
    rows = {line[:24].strip(): line[24:].split() for line in out.splitlines()[2:]}
    assert rows["enlarged to 96 pixels"] == ["1", "1"]
    assert rows["0 cat"] == ["2", "2"]
    assert not err


def test_every_problem_and_what_there_is_all_the_same(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = root / "labels" / "train" / "a.txt"
    label.write_text("0 .5 .5 .2 .2\n" + "2 .5 .5 .2 .2\n" * 30)
    (root / "images" / "val" / "a.png").write_bytes(b"")
    assert main(["check-data", str(root / "data.yaml"), "--imgsz", "100"]) == 2
    out, err = capsys.readouterr()
    told = [line.removeprefix("spnas: error: ") for line in err.splitlines()]
    wrong = [f"{label}:{n}: expected a class from 0 to 1, got 2" for n in range(2, 32)]
    assert told == [
        *wrong,
        f"{root / 'images' / 'val' / 'a.png'}: cannot be read as an image: the file is empty",
        f"{root / 'data.yaml'}: names: classes without one training object: 1 (dog)",
        "--imgsz: expected a multiple of 32 pixels for detection, got 100",
    ]
    assert "images" in out


def test_a_folder_is_classification_and_nothing_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "only").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "only" / "a.png")
    assert main(["check-data", str(tmp_path)]) == 0
    assert "top-1 accuracy of 1" in capsys.readouterr().out
    for wrong in ("nowhere", __file__):
        assert main(["check-data", wrong]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert f"{wrong}: expected a data.yaml, or a folder" in told
