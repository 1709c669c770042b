"""What docs/results.md shows works."""

import re
from pathlib import Path

import pytest

from spnas.runs import RunDirectory, TrialRecord, csv_columns, read_trials, write_trials
from spnas.runs.table import write_confirmed

from .conftest import SCORES, SITES
from .test_front import write


def test_the_pandas_examples_run(
    repo_root: Path,
    tmp_path: Path,
    records: list[TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunDirectory.create(tmp_path / "results", "my-run")
    write_trials(run.trials, records, SCORES, SITES)
    monkeypatch.chdir(tmp_path)
    text = (repo_root / "docs" / "results.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec("\n".join(blocks), {})
    out = capsys.readouterr().out
    assert "complete" in out
    assert "spconv" in out


def test_every_column_and_file_is_described(
    repo_root: Path, tmp_path: Path, records: list[TrialRecord]
) -> None:
    text = (repo_root / "docs" / "results.md").read_text()
    run = RunDirectory.create(tmp_path, "run")
    write_confirmed(run.confirmed, {(records[1].trial, 1): records[1]}, SCORES, SITES)
    write(run, records)
    tables = [read_trials(path).columns for path in (run.confirmed, run.pareto_csv)]
    more = [column for table in tables for column in table if column not in (*SCORES, *SITES)]
    for column in {*csv_columns(("top1",), ()), *more} - {f"{name}_std" for name in SCORES}:
        assert f"`{column}`" in text or column == "top1_std"
    paths = (run.config, run.space, run.environment, run.study, run.trials, run.confirmed)
    for path in (*paths, run.pareto_csv, run.plot, run.log):
        assert f"`{path.name}`" in text
