"""Paths of a data.yaml are resolved as Ultralytics resolves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spnas.errors import DataError
from spnas.tasks.detection_data import (
    IMAGE_SUFFIXES,
    image_files,
    label_file,
    locate_detection,
)

ultralytics_data = pytest.importorskip("ultralytics.data.utils")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ultralytics_data, "check_font", lambda font: None)  # would be downloaded
    for place in (
        "set/images/train",
        "set/images/val",
        "elsewhere/images/train",
        "elsewhere/images/val",
    ):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"path": "."},
        {"path": "../set"},
        {"path": "{root}/elsewhere"},
        {"train": ["images/train", "images/val"]},
        {"train": "../images/train", "val": "../images/val"},
        {"validation": "images/val", "val": None},
        {"names": {"0": "a", "1": 2}},
        {"names": None, "nc": 2},
    ],
)
def test_paths_and_names_equal_ultralytics(folder: Path, keys: dict[str, object]) -> None:
    content: dict[str, object] = {"train": "images/train", "val": "images/val", "names": ["a", "b"]}
    content = {key: value for key, value in (content | keys).items() if value is not None}
    file = folder / "set" / "data.yaml"
    file.write_text(yaml.safe_dump(content).replace("{root}", str(folder)))

    theirs = ultralytics_data.check_det_dataset(str(file), autodownload=False)
    ours = locate_detection(str(file))

    assert dict(enumerate(ours.names)) == theirs["names"]
    for key, paths in (("train", ours.train), ("val", ours.val)):
        entries = theirs[key] if isinstance(theirs[key], list) else [theirs[key]]
        assert [str(path) for path in paths] == entries


def test_path_is_relative_to_the_working_directory_not_to_the_file(folder: Path) -> None:
    file = folder / "set" / "data.yaml"
    file.write_text("path: .\ntrain: images/train\nval: images/val\nnames: [a]\n")
    assert locate_detection(str(file)).train == (folder / "elsewhere" / "images" / "train",)
    file.write_text("train: images/train\nval: images/val\nnames: [a]\n")
    assert locate_detection(str(file)).train == (folder / "set" / "images" / "train",)


def test_image_suffixes_are_those_of_ultralytics() -> None:
    assert set(ultralytics_data.IMG_FORMATS) == IMAGE_SUFFIXES


def test_images_of_nested_folders_and_of_lists(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/deep/2.PNG", "a/notes.txt", "b/3.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"./b/3.webp\n{tmp_path}/a/1.jpg\n")
    nested = image_files([tmp_path / "a"])
    assert [path.name for path in nested] == ["1.jpg", "2.PNG"]
    assert image_files([tmp_path / "list.txt"]) == [tmp_path / "a/1.jpg", tmp_path / "b/3.webp"]


def test_label_files_equal_ultralytics() -> None:
    images = ["/x/images/train/a.b.jpg", "/images/x/images/1.png", "/plain/2.jpg"]
    expected = ultralytics_data.img2label_paths(images)
    assert [str(label_file(Path(image))) for image in images] == expected


def test_the_document_says_the_same_from_any_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: [images/val]\nnames: [cat, dog]\n"
    )
    info = locate_detection(str(folder / "data.yaml"))
    (folder / "frozen.yaml").write_text(yaml.safe_dump(info.document()))
    monkeypatch.chdir(folder / "set")
    frozen = locate_detection(str(folder / "frozen.yaml"))
    assert (frozen.train, frozen.val, frozen.names) == (info.train, info.val, info.names)
    assert frozen.train == ((folder / "elsewhere/images/train").resolve(),)


@pytest.mark.parametrize("name", ["a.jpg", "a.bin"])
def test_a_file_that_is_no_list_is_refused(folder: Path, name: str) -> None:
    (folder / "set" / name).write_bytes(b"\xff\xd8\xff\xe0")
    file = folder / "set" / "data.yaml"
    file.write_text(f"train: {name}\nval: images/val\nnames: [cat]\n")
    with pytest.raises(DataError, match=rf"{name}"):
        image_files(locate_detection(str(file)).train)
