"""report.html of a run, from its files alone."""

from __future__ import annotations

from pathlib import Path

from spnas.runs import RunDirectory, read_run, write_report
from spnas.search.confirmation import confirmed_records, describe


def report_run(run: RunDirectory, path: Path | None = None) -> Path:
    """Write a run's report, whatever state the run is in.

    Args:
        run: The run.
        path: The file; report.html in the run directory by default.

    Returns:
        The file.

    Raises:
        RunError: A file of the run is there and cannot be read.
    """
    content = read_run(run)
    confirmed = confirmed_records(content.trials, content.again, content.metric)
    told = describe(content.trials, content.again, content.metric) if content.again else ""
    path = path or run.report
    write_report(path, content, confirmed, told)
    return path
