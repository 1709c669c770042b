from pathlib import Path

import pandas as pd
import pytest

from spnas.errors import RunError
from spnas.runs import (
    TrialRecord,
    append_trial,
    csv_columns,
    read_records,
    read_trials,
    write_trials,
)

from .conftest import SCORES, SITES


@pytest.fixture
def path(tmp_path: Path, records: list[TrialRecord]) -> Path:
    write_trials(tmp_path / "trials.csv", records, SCORES, SITES)
    return tmp_path / "trials.csv"


def test_records_come_back_as_they_were_written(path: Path, records: list[TrialRecord]) -> None:
    assert read_records(path) == records


def test_appended_rows_make_the_same_file(
    path: Path, tmp_path: Path, records: list[TrialRecord]
) -> None:
    write_trials(tmp_path / "grown.csv", records[:1], SCORES, SITES)
    for record in records[1:]:
        append_trial(tmp_path / "grown.csv", record, SCORES, SITES)
    assert (tmp_path / "grown.csv").read_bytes() == path.read_bytes()


def test_the_table_has_types_and_unknown_is_unknown(path: Path, records: list[TrialRecord]) -> None:
    frame = read_trials(path)
    assert list(frame.columns) == csv_columns(SCORES, SITES)
    assert frame["macs"].dtype == "Int64"
    assert int(frame["macs"].iloc[1]) == records[1].macs
    assert frame["latency_ms"].tolist()[:3] == [r.latency_ms for r in records[:3]]
    assert str(frame["started"].dt.tz) == "UTC"
    assert frame.loc[4, ["params", "latency_ms", "started", "map50"]].isna().all()
    assert frame["map50_95_std"].notna().sum() == 1
    fast = frame.query("state == 'complete' and latency_ratio < 0.9")
    assert set(fast["model.1"]) <= {"regular", "ghost:0.5", "spconv:0.125"}


def test_a_table_of_no_trials_keeps_its_header(tmp_path: Path) -> None:
    write_trials(tmp_path / "trials.csv", [], ("top1",), ("conv1",))
    assert read_records(tmp_path / "trials.csv") == []
    assert list(read_trials(tmp_path / "trials.csv").columns) == csv_columns(("top1",), ("conv1",))


def test_an_error_of_many_lines_and_quotes_is_one_cell(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    records[4].error = 'first, "quoted"\n  second\n'
    write_trials(tmp_path / "t.csv", records, SCORES, SITES)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + len(records)
    assert read_records(tmp_path / "t.csv")[4].error == 'first, "quoted" second'


def test_texts_that_pandas_takes_for_missing_stay(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    records[4].error = "None"
    write_trials(tmp_path / "t.csv", records, SCORES, SITES)
    assert read_records(tmp_path / "t.csv")[4].error == "None"


def _spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("trial,state", "trial,status", "columns missing: state"),
        ("map50_95_std", "other", "not in the order"),
        ("3011043", "many", "line 2, column params: expected a number, got 'many'"),
        (
            "2026-01-02",
            "yesterday",
            "line 2, column started: expected an ISO 8601 time, got 'yesterday",
        ),
        ("0,complete", "0,finished", r"trials\.csv:2: .*state 'finished'"),
        ("ghost:0.5", "ghost:half", r"trials\.csv:\d+: expected a choice"),
    ],
)
def test_a_spoiled_table_is_told_of(path: Path, old: str, new: str, told: str) -> None:
    _spoil(path, old, new)
    with pytest.raises(RunError, match=told):
        read_records(path)


@pytest.mark.parametrize("content", [b"", b"\x80\xff\x00", b"\n\n"])
def test_what_is_no_table_is_told_of(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trials.csv"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"trials\.csv: not a table"):
        read_trials(path)


def test_a_missing_table_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file"):
        read_trials(tmp_path / "trials.csv")


def test_pandas_reads_it_without_spnas(path: Path) -> None:
    frame = pd.read_csv(path)
    assert frame.loc[0, "map50_95"] == 0.41
    assert frame["error"].notna().sum() == 2
