"""The file that a study is kept in, and records as JSON in it."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import event

from spnas.architecture import Architecture
from spnas.runs import TrialRecord


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


def record_to_json(record: TrialRecord) -> dict[str, Any]:
    """Give a record as JSON holds it."""
    return {**asdict(record), "architecture": record.architecture.text}


def record_from_json(value: dict[str, Any]) -> TrialRecord:
    """Read a record back."""
    return TrialRecord(**{**value, "architecture": Architecture.from_text(value["architecture"])})
