"""What a worker says of a trial, kept in a file of the run directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("spnas")


@contextmanager
def trial_log(file: Path | None) -> Iterator[None]:
    """Append what is logged meanwhile, tracebacks of failures too, to a file; None for nowhere.

    A trial that is run again, its worker having died, goes on in the same file.
    """
    if file is None:
        yield
        return
    file.parent.mkdir(exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
