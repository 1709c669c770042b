"""Look at every image of an ImageFolder before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spnas.tasks.base import CLASSIFICATION_COLUMNS, DataInfo
from spnas.tasks.classification_data import class_folders, class_images, locate_classification
from spnas.tasks.images import ImageFacts, in_threads, look_at_image
from spnas.tasks.problems import raise_problems
from spnas.tasks.survey import Split, Survey


def check_classification(data: str | None) -> DataInfo:
    """Check that both splits have the same classes, each with images, and that every image can be read.

    Raises:
        DataError: Every problem found.
    """
    survey = survey_classification(data)
    raise_problems(survey.problems)
    return survey.info


def survey_classification(data: str | None) -> Survey:
    """Look at everything, as `check_classification` does, and count it.

    Raises:
        DataError: A folder is missing, so that there is nothing to look at.
    """
    info = locate_classification(data)
    problems: list[str] = []
    train = _survey_split(info.train[0], info.names, problems)
    val = _survey_split(info.val[0], info.names, problems)
    counted = replace(
        info, train_images=train.images, val_images=val.images, columns=CLASSIFICATION_COLUMNS
    )
    return Survey(counted, train, val, problems)


def _survey_split(split: Path, names: tuple[str, ...], problems: list[str]) -> Split:
    """Add what is wrong with a split; give what it holds."""
    found = class_folders(split)
    problems += [f"{split}: no folder for class {name!r}" for name in names if name not in found]
    problems += [f"{split / name}: class not in train" for name in found if name not in names]
    images: dict[str, list[ImageFacts]] = {}
    for name in found:
        images[name] = in_threads(look_at_image, class_images(split / name))
        if not images[name]:
            problems.append(f"{split / name}: class {name!r} has no image")
        problems += [image.problem for image in images[name] if image.problem]
    counts = [len(images.get(name, ())) for name in names]
    return Split.of([image for part in images.values() for image in part], counts)
