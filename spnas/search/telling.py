"""How a search tells of itself: to people in a terminal, line by line elsewhere, in JSON to programs, or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from spnas.runs import TrialRecord

logger = logging.getLogger("spnas")

Manner = Literal["people", "json", "quiet"]
Event = Literal["start", "base", "trial", "again", "end"]

_SHOWN_LIVE = ("trial", "again")  # by the live view, which stands still where lines would scroll
_FORM = "%(asctime)s %(message)s"


@dataclass(frozen=True)
class Telling:
    """How a search tells of itself.

    Attributes:
        manner: To people, as JSON, one object a line, or not at all.
        console: Where to.
    """

    manner: Manner = "people"
    console: Console = field(default_factory=Console)

    @property
    def is_live(self) -> bool:
        """Whether a live view is drawn."""
        return self.manner == "people" and self.console.is_terminal

    @contextmanager
    def log_to(self, file: Path) -> Iterator[None]:
        """Write spnas' log to a file and tell of it."""
        to_file = _LogFile(file, encoding="utf-8")
        to_file.setFormatter(logging.Formatter(_FORM))
        handlers = [to_file, *([] if self.manner == "quiet" else [self._handler()])]
        logger.setLevel(logging.INFO)
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
                handler.close()

    def _handler(self) -> logging.Handler:
        if self.is_live:
            live: logging.Handler = RichHandler(
                console=self.console,
                show_path=False,
                show_level=False,
                markup=False,
                highlighter=NullHighlighter(),
                log_time_format="%H:%M:%S",
            )
            live.addFilter(lambda record: getattr(record, "event", None) not in _SHOWN_LIVE)
            return live
        handler = logging.StreamHandler(self.console.file)  # rich would break lines at 80 columns
        handler.setFormatter(_Json() if self.manner == "json" else logging.Formatter(_FORM))
        return handler


class _LogFile(logging.FileHandler):
    """A log that says nothing where it cannot be written: the study, on the same disk, ends the search for that."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave it at that."""


def told(event: Event, **data: Any) -> dict[str, Any]:
    """Give what a log call takes as `extra`, so that programs learn what people read in its message."""
    return {"event": event, "data": data}


class _Json(logging.Formatter):
    """One JSON object a line: `time`, `event`, `message`, and what the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        content = {
            "time": moment.isoformat(timespec="milliseconds"),
            "event": getattr(record, "event", record.levelname.lower()),
            "message": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content)


def describe_trial(record: TrialRecord, metric: str) -> str:
    """Tell of an ended trial in one line.

    Args:
        record: The trial.
        metric: Column of its accuracy.
    """
    accuracy = record.scores.get(metric)
    parts = [
        f"trial {record.trial} {record.state}",
        f"{record.origin} {record.architecture.id}",
    ]
    if accuracy is not None:
        parts.append(f"{metric} {accuracy:.4f}")
    if record.latency_ms is not None:
        parts.append(f"latency {record.latency_ms:.2f} ms")
    if record.latency_ratio is not None:
        parts.append(f"{record.latency_ratio:.3f} of the base")
    return " | ".join([*parts, *filter(None, (record.latency_warning, record.error))])
