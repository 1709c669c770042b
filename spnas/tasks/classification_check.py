"""Look at every image of an ImageFolder before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spnas.tasks.base import CLASSIFICATION_COLUMNS, DataInfo
from spnas.tasks.classification_data import class_folders, class_images, locate_classification
from spnas.tasks.images import image_problem, in_threads
from spnas.tasks.problems import raise_problems


def check_classification(data: str | None) -> DataInfo:
    """Check that both splits have the same classes, each with images, and that every image can be read.

    Raises:
        DataError: Every problem found.
    """
    info = locate_classification(data)
    problems: list[str] = []
    train = _check_split(info.train[0], info.names, problems)
    val = _check_split(info.val[0], info.names, problems)
    raise_problems(problems)
    return replace(info, train_images=train, val_images=val, columns=CLASSIFICATION_COLUMNS)


def _check_split(split: Path, names: tuple[str, ...], problems: list[str]) -> int:
    """Add what is wrong with a split; give the number of its images."""
    found = class_folders(split)
    problems += [f"{split}: no folder for class {name!r}" for name in names if name not in found]
    problems += [f"{split / name}: class not in train" for name in found if name not in names]
    count = 0
    for name in found:
        images = class_images(split / name)
        if not images:
            problems.append(f"{split / name}: class {name!r} has no image")
        problems += [problem for problem in in_threads(image_problem, images) if problem]
        count += len(images)
    return count
