"""The file that a study is kept in, and records as JSON in it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from spnas.architecture import Architecture
from spnas.errors import SpnasError
from spnas.runs import TrialRecord

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Open SQLite in WAL mode: ten times less waiting for the disk a trial, and as safe against a killed process."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=60, check_same_thread=False)

    # The URL only names the kind of database: a path may hold characters that mean something in a URL.
    storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})

    @event.listens_for(storage.engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()
    return storage


@contextmanager
def told_where_unwritable(run: Path) -> Iterator[None]:
    """Tell in a line of a disk that is full, gone or read-only; what the run had is as it was at that moment.

    Args:
        run: The run directory.

    Raises:
        SpnasError: The study or a file of the run could not be written.
    """
    try:
        yield
    except (OSError, OperationalError, optuna.exceptions.StorageInternalError) as error:
        if isinstance(error, OSError) and error.errno not in _UNWRITABLE:
            raise
        reason = getattr(_deepest(error), "strerror", None) or _deepest(error)
        raise SpnasError(
            f"run {run} cannot be written: {reason}: `spnas search --resume` goes on once it can be"
        ) from None


def _deepest(error: BaseException) -> BaseException:
    """Give what an error was raised from at first: SQLite's own words, below SQLAlchemy's and Optuna's."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def record_to_json(record: TrialRecord) -> dict[str, Any]:
    """Give a record as JSON holds it."""
    return {**asdict(record), "architecture": record.architecture.text}


def record_from_json(value: dict[str, Any]) -> TrialRecord:
    """Read a record back."""
    return TrialRecord(**{**value, "architecture": Architecture.from_text(value["architecture"])})
