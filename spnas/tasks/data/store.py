"""Make the embedded sets once and keep them in the user's cache folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from spnas.runs.files import cache_directory
from spnas.tasks.data.digits import write_digits
from spnas.tasks.data.scenes import write_scenes


def embedded_detection() -> Path:
    """Give the folder of the embedded detection set, made on first use; its yaml is `data.yaml`."""
    return _cached("digits-detect-v1", write_scenes)


def embedded_classification() -> Path:
    """Give the folder of the embedded classification set, made on first use: `train/<class>`, `val/<class>`."""
    return _cached("digits-classify-v1", write_digits)


def _cached(name: str, write: Callable[[Path], None]) -> Path:
    """Make a folder whole or not at all; of two processes making it at once, one wins and both go on."""
    root = cache_directory()
    target = root / name
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    try:
        write(draft)
        draft.chmod(0o755)
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target
