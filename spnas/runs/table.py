"""trials.csv and pareto.csv: written from records, read as a pandas table or as records again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from spnas.architecture import Architecture
from spnas.errors import ArchitectureError, RunError
from spnas.runs.files import write_text_atomic
from spnas.runs.records import State, TrialRecord, csv_columns

FILE_COLUMN, SEED_COLUMN, SEEDS_COLUMN = "file", "seed", "seeds"
_MORE = (SEED_COLUMN, SEEDS_COLUMN, FILE_COLUMN)  # of confirmed.csv and pareto.csv, after the sites
_TEXT = ("state", "arch_id", "origin", "latency_warning", "error", FILE_COLUMN)
_WHOLE = ("trial", "params", "macs", "batch", SEED_COLUMN, SEEDS_COLUMN)
_TIMES = ("started", "finished")
_ALWAYS = (
    "trial",
    "state",
    "arch_id",
    "origin",
    "epochs",
    "latency_ms",
    "error",
)  # in a run of any age


@dataclass(frozen=True)
class Columns:
    """What the header of a table says, besides the columns that are always there.

    Attributes:
        scores: The task's figures, the metric first.
        sites: The sites, in the network's order.
    """

    scores: tuple[str, ...]
    sites: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The figure that the search maximized."""
        return self.scores[0]


def trials_frame(
    records: Sequence[TrialRecord], score_columns: Sequence[str], sites: Sequence[str]
) -> pd.DataFrame:
    """Make the table of records, typed as `read_trials` gives it.

    Args:
        records: One a row, in this order.
        score_columns: The task's figures, the metric first.
        sites: Names of the space's sites.
    """
    scores, names = tuple(score_columns), tuple(sites)
    rows = [record.to_row(scores, names) for record in records]
    return _typed(pd.DataFrame(rows, columns=csv_columns(scores, names), dtype=object))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, atomically; what is not known becomes an empty cell, times ISO 8601."""
    write_text_atomic(path, _csv(frame))


def _csv(frame: pd.DataFrame, *, header: bool = True) -> str:
    text = frame.copy()
    for column in _TIMES:
        text[column] = [None if pd.isna(t) else t.isoformat() for t in frame[column]]
    return text.to_csv(index=False, lineterminator="\n", header=header)


def write_trials(
    path: Path, records: Sequence[TrialRecord], score_columns: Sequence[str], sites: Sequence[str]
) -> None:
    """Write trials.csv, atomically.

    Args:
        path: The file.
        records: Ended trials, in order of completion.
        score_columns: The task's figures, the metric first.
        sites: Names of the space's sites.
    """
    write_table(path, trials_frame(records, score_columns, sites))


def append_trial(
    path: Path, record: TrialRecord, score_columns: Sequence[str], sites: Sequence[str]
) -> None:
    """Append a trial's row to trials.csv, in one piece: a reader sees all of it or nothing.

    Args:
        path: The file, as `write_trials` made it.
        record: An ended trial.
        score_columns: The task's figures, the metric first.
        sites: Names of the space's sites.
    """
    row = _csv(trials_frame([record], score_columns, sites), header=False)
    with path.open("ab", buffering=0) as file:
        file.write(row.encode("utf-8"))


def write_confirmed(
    path: Path,
    again: Mapping[tuple[int, int], TrialRecord],
    score_columns: Sequence[str],
    sites: Sequence[str],
) -> None:
    """Write confirmed.csv, atomically.

    Args:
        path: The file.
        again: Re-evaluations by the trial's number and the seed's, from 1, in order of completion.
        score_columns: The task's figures, the metric first.
        sites: Names of the space's sites.
    """
    table = trials_frame(list(again.values()), score_columns, sites)
    table[SEED_COLUMN] = [seed for _, seed in again]
    write_table(path, table)


def read_trials(path: Path) -> pd.DataFrame:
    """Read trials.csv, confirmed.csv or pareto.csv.

    Returns:
        A row a trial. `trial`, `params`, `macs`, `seed` and `seeds` are whole numbers (Int64), `started` and `finished`
        UTC times, other figures floats; what is not known is NA, NaN or NaT. Columns that an earlier version of spnas
        did not write are there and empty.

    Raises:
        RunError: The file is missing or is not such a table.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such file; it is written when the first trial has ended")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (ValueError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not a table of trials: {str(error).strip()}") from None
    try:
        frame = _with_later_columns(frame)
        table_columns(frame)
        return _typed(frame)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: {error}") from None


def _with_later_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Add, empty and at their places, the columns that runs of earlier versions do not have."""
    header = list(frame.columns)
    if not set(_ALWAYS) <= set(header):
        return frame  # no table of trials, as will be told
    fixed = csv_columns((), ())
    for place, column in enumerate(fixed):
        if column not in header:
            header.insert(header.index(fixed[place - 1]) + 1, column)
    return frame.reindex(columns=header)


def read_records(path: Path) -> list[TrialRecord]:
    """Read trials.csv or confirmed.csv as the records it was written from.

    Raises:
        RunError: The file is missing or is not such a table; one line for each row that cannot be read.
    """
    frame = read_trials(path)
    columns = table_columns(frame)
    records: list[TrialRecord] = []
    problems: list[str] = []
    for line, row in enumerate(frame.to_dict("records"), start=2):
        try:
            records.append(_record({str(key): value for key, value in row.items()}, columns))
        except ArchitectureError as error:
            problems += [f"{path}:{line}: {problem}" for problem in error.problems]
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
    if problems:
        raise RunError(problems)
    return records


def table_columns(frame: pd.DataFrame) -> Columns:
    """Read the header of a table.

    Raises:
        ValueError: The columns are not those of one of a run's tables.
    """
    header = [str(column) for column in frame.columns if column not in _MORE]
    fixed = csv_columns((), ())
    missing = [column for column in fixed if column not in header]
    if missing:
        raise ValueError(f"not a table of trials, columns missing: {', '.join(missing)}")
    scores = header[header.index("epochs") + 1 : header.index("latency_ms") : 2]
    columns = Columns(tuple(scores), tuple(header[header.index("error") + 1 :]))
    if not scores or header != csv_columns(columns.scores, columns.sites):
        raise ValueError("the columns are not in the order in which spnas writes them")
    return columns


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each column its type, from objects or from text."""
    sites = set(table_columns(frame).sites) if len(frame.columns) else set()
    typed = {column: _typed_column(frame[column], column in sites) for column in frame.columns}
    return pd.DataFrame(typed, columns=frame.columns)


def _typed_column(values: pd.Series[Any], is_site: bool) -> pd.Series[Any]:
    if is_site or values.name in _TEXT:
        return values.astype(pd.StringDtype(na_value=np.nan))
    if values.name in _TIMES:
        times = pd.to_datetime(values, utc=True, format="ISO8601", errors="coerce")
        _check_read(values, times, "an ISO 8601 time")
        return times
    numbers = values.map(_number)  # pandas 2's to_numeric is off in the last digit
    _check_read(values, numbers, "a number")
    return numbers.astype("Int64" if values.name in _WHOLE else "float64")


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _check_read(given: pd.Series[Any], read: pd.Series[Any], expected: str) -> None:
    """Check that nothing got lost; the error tells the first cell and its line in the file."""
    lost = given[read.isna() & given.notna()]
    if len(lost):
        line = int(lost.index[0]) + 2
        raise ValueError(
            f"line {line}, column {given.name}: expected {expected}, got {lost.iloc[0]!r}"
        )


def _record(row: dict[str, Any], columns: Columns) -> TrialRecord:
    known = {key: value for key, value in row.items() if not pd.isna(value)}
    if "trial" not in known or known.get("state") not in get_args(State):
        raise ValueError(
            f"expected a trial's number and a state of {', '.join(get_args(State))}, "
            f"got trial {known.get('trial')}, state {known.get('state')!r}"
        )
    figures = csv_columns(columns.scores, ())
    scores = {
        name: known[name] for c in columns.scores for name in (c, f"{c}_std") if name in known
    }
    architecture = Architecture({site: known[site] for site in columns.sites if site in known})
    fields: dict[str, Any] = {
        name: value.isoformat() if name in _TIMES else int(value) if name in _WHOLE else value
        for name, value in known.items()
        if name in figures and name not in scores and name != "arch_id"
    }
    return TrialRecord(architecture=architecture, scores=scores, **fields)
