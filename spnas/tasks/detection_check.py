"""Look at every image and every label line of a detection set before training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from spnas.tasks.base import DETECTION_COLUMNS, DataInfo
from spnas.tasks.data.scenes import IMGSZ
from spnas.tasks.detection_data import image_files, label_file, locate_detection
from spnas.tasks.images import MIN_SIDE, image_problem, in_threads
from spnas.tasks.problems import raise_problems

TOLERANCE = 0.01  # how far outside 0..1 a coordinate may lie, as Ultralytics allows


@dataclass
class _Found:
    """What a label file holds: the class numbers seen, and what is wrong with it."""

    classes: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def check_detection(data: str | None) -> DataInfo:
    """Check that every image can be read, every label line is right, and every class is seen in training.

    What Ultralytics would leave out with a warning is an error here. An image without a label file is background.

    Raises:
        DataError: Every problem found.
    """
    info = locate_detection(data)
    train, val = (image_files(paths) for paths in (info.train, info.val))
    problems = [
        f"{', '.join(map(str, paths))}: expected images, found none"
        for paths, images in ((info.train, train), (info.val, val))
        if not images
    ]
    headers = in_threads(partial(image_problem, min_side=MIN_SIDE), [*train, *val])
    problems += [problem for problem in headers if problem]
    labels = in_threads(partial(_check_labels, num_classes=info.num_classes), [*train, *val])
    problems += [problem for found in labels for problem in found.problems]
    problems += _empty_classes(info, labels[: len(train)])
    if not any(found.classes for found in labels[len(train) :]):
        problems.append(f"{info.source}: val: expected labelled objects, found none")
    raise_problems(problems)
    return replace(
        info,
        train_images=len(train),
        val_images=len(val),
        columns=DETECTION_COLUMNS,
        imgsz=IMGSZ if data is None else None,
    )


def _empty_classes(info: DataInfo, labels: list[_Found]) -> list[str]:
    seen = {number for found in labels for number in found.classes}
    empty = [f"{i} ({name})" for i, name in enumerate(info.names) if i not in seen]
    if not empty:
        return []
    shown = ", ".join(empty[:10]) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
    return [f"{info.source}: names: classes without one training object: {shown}"]


def _check_labels(image: Path, num_classes: int) -> _Found:
    """Check the label file of an image, line by line."""
    file = label_file(image)
    found = _Found()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
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
            found.classes.add(int(float(row[0])))
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
