"""What is wrong with a detection set is found before training, all at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from spnas.errors import DataError
from spnas.tasks import check_data

GOOD = "0 0.5 0.5 0.2 0.2\n1 0.2 0.2 0.1 0.1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for number in range(2):
            _add_image(tmp_path, split, str(number), GOOD)
    _write_yaml(tmp_path)
    return tmp_path


def _add_image(root: Path, split: str, name: str, label: str | None) -> Path:
    image, text = root / "images" / split / f"{name}.png", root / "labels" / split / f"{name}.txt"
    for file in (image, text):
        file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(image)
    if label is not None:
        text.write_text(label)
    return text


def _write_yaml(root: Path, **changes: object) -> None:
    content = {"train": "images/train", "val": "images/val", "names": {0: "a", 1: "b"}} | changes
    kept = {key: value for key, value in content.items() if value is not None}
    (root / "data.yaml").write_text(yaml.safe_dump(kept))


def _problems(root: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        check_data("detect", str(root / "data.yaml"))
    return caught.value.problems


def test_a_good_set_is_counted(root: Path) -> None:
    _add_image(root, "train", "background", None)
    info = check_data("detect", str(root / "data.yaml"))
    assert (info.kind, info.names, info.train_images, info.val_images) == (
        "detect",
        ("a", "b"),
        3,
        2,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.2", "got 4 columns"),
        ("0 0.5 0.5 0.2 0.2 0.9", "got 6 columns"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "got 8 columns"),
        ("0 0.5 x 0.2 0.2", "expected numbers"),
        ("2 0.5 0.5 0.2 0.2", "expected a class from 0 to 1, got 2"),
        ("-1 0.5 0.5 0.2 0.2", "expected a class from 0 to 1, got -1"),
        ("0.5 0.5 0.5 0.2 0.2", "expected a class from 0 to 1, got 0.5"),
        ("nan 0.5 0.5 0.2 0.2", "expected a class from 0 to 1, got nan"),
        ("0 1.2 0.5 0.2 0.2", "expected coordinates from 0 to 1"),
        ("0 0.5 nan 0.2 0.2", "expected coordinates from 0 to 1"),
        ("0 40 60 16 16", "expected coordinates from 0 to 1"),
        ("0 0.5 0.5 -0.005 0.2", "width and height of at least 0"),
    ],
)
def test_a_broken_label_is_named_by_file_and_line(root: Path, line: str, expected: str) -> None:
    text = _add_image(root, "train", "broken", f"{GOOD}{line}\n")
    (problem,) = _problems(root)
    assert problem.startswith(f"{text}:3: ")
    assert expected in problem


@pytest.mark.parametrize(
    "line", ["0 0.1 0.1 0.9 0.1 0.5 0.9", "0 1.005 0.5 0.2 0.2", "0 0.5 0.5 1 1"]
)
def test_what_ultralytics_takes_is_taken(root: Path, line: str) -> None:
    _add_image(root, "train", "fine", f"{line}\n")
    assert check_data("detect", str(root / "data.yaml")).train_images == 3


def test_boxes_and_polygons_in_one_file_are_refused(root: Path) -> None:
    text = _add_image(root, "train", "mixed", GOOD + "0 0.1 0.1 0.9 0.1 0.5 0.9\n")
    assert _problems(root) == [f"{text}: expected boxes or polygons, got both"]


def test_unreadable_and_tiny_images_are_named(root: Path) -> None:
    folder = root / "images" / "val"
    (folder / "text.jpg").write_text("not an image")
    (folder / "zero.png").write_bytes(b"")
    Image.new("RGB", (4, 40)).save(folder / "thin.png")
    problems = "\n".join(_problems(root))
    for expected in (
        "text.jpg: cannot be read as an image: unknown format",
        "zero.png: cannot be read as an image: the file is empty",
        "got 4 x 40",
    ):
        assert expected in problems


def test_an_image_that_lost_its_end_is_named(root: Path) -> None:
    """Ultralytics would rewrite the JPEGs in place, with grey or garbage for what is lost."""
    folder = root / "images" / "train"
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    for name in ("cut.jpg", "zeros.jpg", "cut.png", "cut.bmp", "more.jpg", "padded.jpg"):
        Image.fromarray(pixels).save(folder / name)
        content = (folder / name).read_bytes()
        half = content[: len(content) // 2]
        ends = {"cut": half, "zeros": half + bytes(len(half)), "more": content + b"notes"}
        (folder / name).write_bytes(ends.get(Path(name).stem, content + bytes(10)))
    problems = _problems(root)
    assert [problem.partition(": ")[0] for problem in problems] == [
        str(folder / name) for name in ("cut.bmp", "cut.jpg", "cut.png", "zeros.jpg")
    ]
    assert all("cannot be read as an image: " in problem for problem in problems)


def test_missing_label_files_are_told_once_with_where_they_are_expected(root: Path) -> None:
    (root / "labels").rename(root / "annotations")
    assert _problems(root) == [
        f"{root / 'data.yaml'}: {split}: expected labelled objects, found none, nor any label file such as "
        f"{root / 'labels' / split / '0.txt'}"
        for split in ("train", "val")
    ]


def test_a_class_without_training_objects_is_an_error(root: Path) -> None:
    _write_yaml(root, names=["a", "b", "c"])
    assert _problems(root) == [
        f"{root / 'data.yaml'}: names: classes without one training object: 2 (c)"
    ]


def test_folders_without_images_and_val_without_labels(root: Path) -> None:
    (root / "empty").mkdir()
    _write_yaml(root, train="empty")
    assert any("empty: expected images, found none" in problem for problem in _problems(root))
    for text in (root / "labels" / "val").iterdir():
        text.unlink()
    _write_yaml(root)
    assert any("val: expected labelled objects" in problem for problem in _problems(root))


def test_every_wrong_key_is_reported_at_once(root: Path) -> None:
    _write_yaml(root, train="nowhere", val=None, names=None)
    problems = "\n".join(_problems(root))
    for expected in (
        f"train: no folder or file {root / 'nowhere'}",
        "val: expected",
        "names: expected",
    ):
        assert expected in problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"names": {0: "a", 2: "b"}}, "expected class numbers 0 to 1"),
        ({"nc": 3}, "nc: expected 2, the number of names, got 3"),
        ({"names": []}, "names: expected class names"),
        ({"train": 3}, "train: expected a folder"),
    ],
)
def test_a_wrong_key_is_explained(root: Path, changes: dict[str, object], expected: str) -> None:
    _write_yaml(root, **changes)
    assert any(expected in problem for problem in _problems(root))


@pytest.mark.parametrize(
    ("content", "expected"), [("- a\n- b\n", "got list"), ("train: [", "not valid YAML")]
)
def test_a_file_that_is_no_data_yaml(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "data.yaml").write_text(content)
    (problem,) = _problems(tmp_path)
    assert expected in problem


def test_a_missing_yaml_and_a_folder() -> None:
    for data, expected in (("nowhere.yaml", "nothing there"), ("/", "a folder")):
        with pytest.raises(DataError, match=expected):
            check_data("detect", data)


def test_many_problems_are_cut_short_and_counted(root: Path) -> None:
    _add_image(root, "train", "bad", "9 0.5 0.5 0.1 0.1\n" * 30)
    problems = _problems(root)
    assert len(problems) == 21
    assert problems[-1] == "and 10 more problems; `spnas check-data` lists all"


def test_a_download_is_never_run(root: Path) -> None:
    marker = root / "downloaded"
    _write_yaml(root, val="nowhere", download=f"open({str(marker)!r}, 'w').close()")
    assert any("val: no folder" in problem for problem in _problems(root))
    assert not marker.exists()
