"""Where an Ultralytics data.yaml says that images and labels are. Nothing is ever downloaded."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spnas.errors import DataError
from spnas.names import shown
from spnas.runs.yaml_file import YamlError, read_yaml
from spnas.tasks.base import DataInfo
from spnas.tasks.data import embedded_detection

# The suffixes that Ultralytics reads; a test compares the two.
IMAGE_SUFFIXES = frozenset(
    (
        "avif",
        "bmp",
        "dng",
        "heic",
        "heif",
        "jp2",
        "jpeg",
        "jpg",
        "mpo",
        "png",
        "tif",
        "tiff",
        "webp",
    )
)


def locate_detection(data: str | None) -> DataInfo:
    """Read a data.yaml and resolve its paths as Ultralytics' `check_det_dataset` does, without its download.

    `path` is the root of the images: absolute, or relative to the **working directory**, or else to Ultralytics'
    datasets folder; without `path` the root is the folder of the yaml. Images are not counted.

    Args:
        data: The data.yaml, or the name of one that comes with Ultralytics (`coco8.yaml`); None for the embedded set.

    Raises:
        DataError: Every key that is missing or wrong, every path that does not exist.
    """
    file = embedded_detection() / "data.yaml" if data is None else _find_yaml(data)
    content = _read(file)
    problems: list[str] = []
    names = _names(content, problems)
    root = _root(content, file)
    train = _paths(content, "train", root, problems)
    val = _paths(content, "val" if "val" in content else "validation", root, problems)
    if problems:
        raise DataError([f"{file}: {problem}" for problem in problems])
    return DataInfo("detect", file, names, train, val)


def image_files(sources: Iterable[Path]) -> list[Path]:
    """List the images of folders (at any depth) and of text files naming one image a line, as Ultralytics does."""
    found: list[str] = []
    for source in sources:
        if source.is_dir():
            found += glob.glob(os.path.join(glob.escape(str(source)), "**", "*.*"), recursive=True)
        else:
            parent = f"{source.parent}{os.sep}"
            try:
                lines = source.read_text(encoding="utf-8-sig").strip().splitlines()
            except (OSError, UnicodeDecodeError):
                raise DataError(f"{source}: expected a text file naming one image a line") from None
            found += [x.replace("./", parent, 1) if x.startswith("./") else x for x in lines]
    return [Path(x) for x in sorted(found) if _is_image(x)]


def _is_image(path: str) -> bool:
    return path.rpartition(".")[-1].lower() in IMAGE_SUFFIXES


def label_file(image: Path) -> Path:
    """Give the label file of an image: the last folder `images` of its path becomes `labels`, the suffix `.txt`."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return Path(labels.join(str(image).rsplit(images, 1)).rsplit(".", 1)[0] + ".txt")


def _find_yaml(data: str) -> Path:
    spec = find_spec("ultralytics")
    shipped = Path(spec.origin).parent / "cfg" / "datasets" if spec and spec.origin else Path()
    for file in (Path(data), shipped / data):
        if file.is_file() and file.suffix in {".yaml", ".yml"}:
            return file
    got = (
        "a folder; folders of classes are for networks that classify"
        if Path(data).is_dir()
        else "another file"
        if Path(data).exists()
        else "nothing there"
    )
    raise DataError(f"{data}: expected a data.yaml in Ultralytics' format, got {got}")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_yaml(file).value
    except YamlError as error:
        raise DataError(error.problems) from None
    if not isinstance(content, dict):
        raise DataError(
            f"{file}: expected a mapping with train, val and names, got {type(content).__name__}"
        )
    return content


def _root(content: dict[str, Any], file: Path) -> Path:
    root = Path(str(content.get("path") or file.parent))
    if root.exists() or root.is_absolute():
        return root
    from ultralytics.utils import DATASETS_DIR

    return (Path(DATASETS_DIR) / root).resolve()


def _names(content: dict[str, Any], problems: list[str]) -> tuple[str, ...]:
    names, count = content.get("names"), content.get("nc")
    if names is None and isinstance(count, int) and count > 0:
        return tuple(f"class_{i}" for i in range(count))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        problems.append(
            f"names: expected class names (or nc: a number of classes), got {shown(names)}"
        )
        return ()
    if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
        problems.append(f"names: expected class numbers 0 to {len(names) - 1}, got {list(names)}")
        return ()
    if count is not None and count != len(names):
        problems.append(f"nc: expected {len(names)}, the number of names, got {count!r}")
    return tuple(str(name) for _, name in sorted(names.items(), key=lambda item: int(item[0])))


def _paths(content: dict[str, Any], key: str, root: Path, problems: list[str]) -> tuple[Path, ...]:
    value = content.get(key)
    entries: list[Any] = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, str) and entry for entry in entries):
        problems.append(
            f"{key.removesuffix('idation')}: expected a folder or list of images, got {shown(value)}"
        )
        return ()
    paths = []
    for entry in entries:
        path = (root / entry).resolve()
        if not path.exists() and isinstance(value, str) and entry.startswith("../"):
            path = (root / entry[3:]).resolve()  # Ultralytics forgives one level too many
        if not path.exists():
            problems.append(f"{key}: no folder or file {path}")
        elif path.is_file() and _is_image(str(path)):
            problems.append(f"{key}: expected a folder or a list of images, got the image {path}")
        paths.append(path)
    return tuple(paths)
