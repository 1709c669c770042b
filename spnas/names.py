"""Names that were nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_miss(name: str, known: Iterable[str]) -> str:
    """Give ` (did you mean yolov8m?)` for a name that is spelled like known ones; nothing where none is.

    Examples:
        >>> near_miss("yolo8n", ["yolov8n", "yolov8s", "resnet18"])
        ' (did you mean yolov8n or yolov8s?)'
        >>> near_miss("abacus", ["torch", "onnxruntime"])
        ''
    """
    lowered = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.6)
    starts = [other for other in lowered if len(name) > 2 and other.startswith(name.lower())]
    found = list(dict.fromkeys([*near, *starts]))[:2]
    return f" (did you mean {' or '.join(lowered[other] for other in found)}?)" if found else ""
