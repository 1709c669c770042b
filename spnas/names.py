"""Words as users read them: names that were nearly right, numbers of things."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 5  # that a name is the beginning of


def near_miss(name: str, known: Iterable[str]) -> str:
    """Give ` (did you mean yolov8m?)` for a name that is spelled like known ones; nothing where none is.

    Examples:
        >>> near_miss("yolo8n", ["yolov8n", "yolov8s", "resnet18"])
        ' (did you mean yolov8n or yolov8s?)'
        >>> near_miss("resnet20", ["resnet50", "resnet20-cifar"])
        ' (did you mean resnet20-cifar?)'
        >>> near_miss("abacus", ["torch", "onnxruntime"])
        ''
    """
    lowered = {other.lower(): other for other in known}
    starts = [other for other in lowered if len(name) > 2 and other.startswith(name.lower())]
    near = difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.6)
    found = [lowered[other] for other in starts[:_MOST] or near]
    if not found:
        return ""
    *others, last = found
    return f" (did you mean {', '.join(others)}{' or ' if others else ''}{last}?)"


def counted(number: float, noun: str) -> str:
    """Give a number of things.

    Examples:
        >>> counted(1, "trial"), counted(2, "trial"), counted(0, "core")
        ('1 trial', '2 trials', '0 cores')
    """
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def shown(value: object) -> str:
    """Give a value as an error tells it; `nothing` for None, which is what a key that is missing reads as."""
    return "nothing" if value is None else repr(value)
