"""`spnas check-data`: what a data set holds, and what a search would refuse it for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas.tasks import Split, Survey

_CLASSES = 30  # in the table; --json has all


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "check-data",
        help="check a data set and tell what is in it",
        description=(
            "Looks at every image and label as a search does before it spends anything: counts images, objects and "
            "sizes, and names every problem with file and line. The exit code is 2 where a search would refuse."
        ),
        examples=("spnas check-data my.yaml --imgsz 640",),
    )
    parser.add_argument("data", metavar="DATA", help="data.yaml, or a folder with train and val")
    parser.add_argument("--imgsz", type=int, help="image size in pixels that it is to be used at")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what there is; raises one error with all problems."""
    from spnas.errors import DataError
    from spnas.tasks import survey_data

    survey = survey_data(args.data)
    problems = [*survey.problems, *_size_problems(survey, args.imgsz)]
    if args.json:
        print(json.dumps({**_document(survey), "problems": problems}, indent=2))
    else:
        _print(survey, args.imgsz)
    if problems:
        raise DataError(problems)
    return 0


def _size_problems(survey: Survey, imgsz: int | None) -> list[str]:
    """Say why the images cannot be used at a size."""
    if imgsz is None:
        return []
    if imgsz <= 0:
        return [f"--imgsz: expected at least 1 pixel, got {imgsz}"]
    if survey.info.kind == "detect" and imgsz % 32:
        return [f"--imgsz: expected a multiple of 32 pixels for detection, got {imgsz}"]
    return []


def _document(survey: Survey) -> dict[str, Any]:
    """Give all that is known, for programs."""
    info = survey.info
    return {
        "kind": info.kind,
        "source": str(info.source),
        "names": list(info.names),
        **{name: _split_document(split) for name, split in _splits(survey)},
    }


def _split_document(split: Split) -> dict[str, Any]:
    smallest, largest = _size_range(split)
    return {
        "images": split.images,
        "background": split.background,
        "grey": split.grey,
        "objects": list(split.objects),
        "smallest": smallest,
        "largest": largest,
    }


def _splits(survey: Survey) -> Iterator[tuple[str, Split]]:
    yield "train", survey.train
    yield "val", survey.val


def _size_range(split: Split) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Give width and height of the images with the fewest and the most pixels; None where none can be read."""
    ordered = sorted(set(split.sizes), key=lambda size: (size[0] * size[1], size))
    return (ordered[0], ordered[-1]) if ordered else (None, None)


def _print(survey: Survey, imgsz: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    detection, names = survey.info.kind == "detect", survey.info.names
    console = Console(highlight=False, markup=False)
    title = f"{survey.info.source}: {survey.info.kind}, {len(names)} class{'es' * (len(names) > 1)}"
    console.print(title, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    rows: dict[str, list[str]] = {}
    for name, split in _splits(survey):
        table.add_column(name, justify="right", no_wrap=True)
        for label, value in _figures(split, detection, imgsz).items():
            rows.setdefault(label, []).append(value)
        for number, label in enumerate(names[:_CLASSES]):
            rows.setdefault(f"  {number} {label}", []).append(f"{split.objects[number]:,}")
    for label, values in rows.items():
        table.add_row(label, *values)
    console.print(table)
    if len(names) > _CLASSES:
        console.print(f"  and {len(names) - _CLASSES} more classes; --json has all")
    if len(names) == 1 and not detection:
        console.print("note: with one class every architecture has a top-1 accuracy of 1")


def _figures(split: Split, detection: bool, imgsz: int | None) -> dict[str, str]:
    """Give the figures of a split by what the table calls them."""
    smallest, largest = ("-" if s is None else f"{s[0]} x {s[1]}" for s in _size_range(split))
    figures = {
        "images": f"{split.images:,}",
        "of one channel": f"{split.grey:,}",
        "smallest, pixels": smallest,
        "largest, pixels": largest,
    }
    if imgsz:
        figures[f"enlarged to {imgsz} pixels"] = f"{split.smaller_than(imgsz):,}"
    if detection:
        figures["without an object"] = f"{split.background:,}"
        figures["objects"] = f"{sum(split.objects):,}"
    else:
        figures["images of each class"] = ""
    return figures
