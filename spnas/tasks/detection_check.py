"""Look at every image and every label line of a detection set before training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from spnas.tasks.base import DETECTION_COLUMNS, DataInfo
from spnas.tasks.data.scenes import IMGSZ
from spnas.tasks.detection_data import image_files, label_file, locate_detection
from spnas.tasks.images import MIN_SIDE, in_threads, look_at_image
from spnas.tasks.problems import raise_problems
from spnas.tasks.survey import Split, Survey

TOLERANCE = 0.01  # how far outside 0..1 a coordinate may lie, as Ultralytics allows


@dataclass
class _Found:
    """What a label file holds: objects by class number, and what is wrong with it.

    Attributes:
        file: The label file.
        there: Whether there is one.
        objects: How many objects of each class.
        problems: A line each.
    """

    file: Path
    there: bool = True
    objects: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def check_detection(data: str | None) -> DataInfo:
    """Check that every image can be read, every label line is right, and every class is seen in training.

    What Ultralytics would leave out with a warning is an error here. An image without a label file is background.

    Raises:
        DataError: Every problem found.
    """
    survey = survey_detection(data)
    raise_problems(survey.problems)
    return survey.info


def survey_detection(data: str | None) -> Survey:
    """Look at everything, as `check_detection` does, and count it.

    Raises:
        DataError: The data.yaml cannot be used, so that there is nothing to look at.
    """
    info = locate_detection(data)
    problems: list[str] = []
    splits = {}
    for name, paths in (("train", info.train), ("val", info.val)):
        files = image_files(paths)
        images = in_threads(partial(look_at_image, min_side=MIN_SIDE), files)
        labels = in_threads(partial(_check_labels, num_classes=info.num_classes), files)
        if not files:
            problems.append(f"{', '.join(map(str, paths))}: expected images, found none")
        problems += [image.problem for image in images if image.problem]
        problems += [problem for found in labels for problem in found.problems]
        if files and not any(found.objects or found.problems for found in labels):
            problems.append(f"{info.source}: {name}: {_nothing_labelled(labels)}")
        total: Counter[int] = Counter()
        for found in labels:
            total.update(found.objects)
        background = sum(not found.objects and not found.problems for found in labels)
        counts = [total[number] for number in range(info.num_classes)]
        splits[name] = Split.of(images, counts, background)
    problems += _empty_classes(info, splits["train"])
    counted = replace(
        info,
        train_images=splits["train"].images,
        val_images=splits["val"].images,
        columns=DETECTION_COLUMNS,
        imgsz=IMGSZ if data is None else None,
    )
    return Survey(counted, splits["train"], splits["val"], problems)


def _nothing_labelled(labels: list[_Found]) -> str:
    """Say that no image of a split has an object, and where its label files should be if there is none at all."""
    expected = "expected labelled objects, found none"
    if any(found.there for found in labels):
        return expected
    return f"{expected}, nor any label file such as {labels[0].file}"


def _empty_classes(info: DataInfo, train: Split) -> list[str]:
    """Name the classes without a training object, where there are objects of others."""
    empty = [
        f"{i} ({name})"
        for i, (name, objects) in enumerate(zip(info.names, train.objects, strict=True))
        if not objects
    ]
    if not empty or not any(train.objects):
        return []
    shown = ", ".join(empty[:10]) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
    return [f"{info.source}: names: classes without one training object: {shown}"]


def _check_labels(image: Path, num_classes: int) -> _Found:
    """Check the label file of an image, line by line."""
    file = label_file(image)
    found = _Found(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        found.there = False
        return found
    except (OSError, UnicodeDecodeError) as error:
        found.problems.append(f"{file}: cannot be read: {error}")
        return found
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, row in rows:
        problem = _row_problem(row, num_classes)
        if problem:
            found.problems.append(f"{file}:{number}: {problem}")
        else:
            found.objects[int(float(row[0]))] += 1
    if not found.problems and len({len(row) > 5 for _, row in rows}) > 1:
        found.problems.append(f"{file}: expected boxes or polygons, got both")
    return found


def _row_problem(row: list[str], num_classes: int) -> str | None:
    """Say what is wrong with one object: a class and a box, or a class and a polygon."""
    if len(row) != 5 and (len(row) < 7 or len(row) % 2 == 0):
        expected = "class x y width height (or a class and a polygon of at least 3 points)"
        return f"expected {expected}, got {len(row)} columns"
    try:
        label, *values = map(float, row)
    except ValueError as error:
        return f"expected numbers: {error}"
    if not label.is_integer() or not 0 <= label < num_classes:
        return f"expected a class from 0 to {num_classes - 1}, got {row[0]}"
    if not all(-TOLERANCE <= value <= 1 + TOLERANCE for value in values):
        return f"expected coordinates from 0 to 1 (shares of the image), got {' '.join(row[1:])}"
    if len(row) == 5 and min(values[2:]) < 0:
        return f"expected a width and height of at least 0, got {row[3]} {row[4]}"
    return None
