"""What docs/results.md shows works."""

import re
from pathlib import Path

import pytest

from spnas.runs import RunDirectory, TrialRecord, csv_columns, write_trials

from .conftest import SCORES, SITES


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


def test_every_column_and_file_is_described(repo_root: Path) -> None:
    text = (repo_root / "docs" / "results.md").read_text()
    for column in csv_columns(("top1",), ()):
        assert f"`{column}`" in text or column == "top1_std"
    run = RunDirectory(Path("run"))
    for name in (run.config, run.space, run.environment, run.study, run.trials, run.plot, run.log):
        assert f"`{name.name}`" in text
