"""Where an ImageFolder keeps its images: `train/<class>/*` and `val/<class>/*`."""

from __future__ import annotations

from pathlib import Path

from spnas.errors import DataError
from spnas.tasks.base import DataInfo
from spnas.tasks.data import embedded_classification

# torchvision.datasets.folder.IMG_EXTENSIONS; a test compares the two.
IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
)


def locate_classification(data: str | None) -> DataInfo:
    """Find the two splits and the classes; images are not counted.

    Args:
        data: The folder that holds `train` and `val` (or `test`, where there is no `val`); None for the embedded set.

    Raises:
        DataError: A folder that is missing, or no class.
    """
    root = embedded_classification() if data is None else Path(data)
    if not root.is_dir():
        got = "a file; a data.yaml is for networks that detect" if root.is_file() else "none"
        raise DataError(f"{root}: expected a folder with train/<class> and val/<class>, got {got}")
    train = root / "train"
    val = root / "val" if (root / "val").is_dir() or not (root / "test").is_dir() else root / "test"
    missing = [f"{folder}: no such folder" for folder in (train, val) if not folder.is_dir()]
    if missing:
        raise DataError(missing)
    names = class_folders(train)
    if not names:
        raise DataError(f"{train}: expected one folder a class, got none")
    return DataInfo("classify", root, names, (train,), (val,))


def class_folders(split: Path) -> tuple[str, ...]:
    """List the classes of a split as torchvision orders them."""
    return tuple(sorted(entry.name for entry in split.iterdir() if entry.is_dir()))


def class_images(folder: Path) -> list[Path]:
    """List the images of a class, at any depth."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    )
