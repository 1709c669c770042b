"""What docs/results.md shows works."""

import re
import runpy
from pathlib import Path

import pytest

from spnas.runs import (
    RunDirectory,
    TrialRecord,
    csv_columns,
    load_results,
    read_trials,
    write_trials,
)
from spnas.runs.course import read_rungs, write_costs, write_rungs
from spnas.runs.table import write_confirmed

from .conftest import SCORES, SITES
from .made_up import make_run
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


def documented(text: str, heading: str) -> list[str]:
    """List the names in the first column of the first table after a text."""
    rows = text[text.index(heading) :].split("\n\n| ", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall("`([^`]+)`", row.split("|")[1])]


def test_the_documented_columns_are_those_that_are_written(
    repo_root: Path, tmp_path: Path, records: list[TrialRecord]
) -> None:
    text = (repo_root / "docs" / "results.md").read_text()
    run = RunDirectory.create(tmp_path, "run")
    write_trials(run.trials, records, SCORES, SITES)
    write_confirmed(run.confirmed, {(records[1].trial, 1): records[1]}, SCORES, SITES)
    write(run, records)
    write_rungs(run.rungs, [(1, 1, 0.5, 9.0)], "map50_95")
    write_costs(run.costs, {"trials": 1.0})

    columns = documented(text, "## Columns of trials.csv")
    figures = ["map50_95", "map50", "top1", "map50_95_std"]  # of any task
    sites = ["model.0", "model.1"]
    assert [c for c in columns if c not in figures + sites] == csv_columns((), ())
    assert set(figures + sites) <= set(columns)
    trials = list(read_trials(run.trials))
    for path, more in (
        (run.confirmed, "`confirmed.csv` has"),
        (run.pareto_csv, "`pareto.csv` has"),
    ):
        assert list(read_trials(path)) == trials + documented(text, more)
    rungs = [c for c in documented(text, "`rungs.csv` has") if c != "top1"]
    assert rungs == list(read_rungs(run.rungs))
    assert documented(text, "`costs.csv` has") == run.costs.read_text().splitlines()[0].split(",")


def test_every_file_is_described(repo_root: Path, tmp_path: Path) -> None:
    described = documented((repo_root / "docs" / "results.md").read_text(), "## The run directory")
    for name, value in vars(RunDirectory).items():
        if isinstance(value, property) and name not in (
            "name",
            "base_weights",
            "base_checkpoint",
            "library",
        ):
            path = getattr(RunDirectory(tmp_path), name)
            assert path.name + ("/" if name.endswith("_dir") else "") in {*described, "pareto/"}


def test_loaded_results_have_a_type_for_each_column(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    run = RunDirectory.create(tmp_path, "run")
    write_trials(run.trials, records, SCORES, SITES)
    write_confirmed(run.confirmed, {(2, 1): records[2]}, SCORES, SITES)
    files = write(run, records)
    table = load_results(run.path)
    assert table.drop(columns=["is_base", "on_front", "confirmed"]).columns.tolist() == csv_columns(
        SCORES, SITES
    )
    for site in SITES:
        assert table[site].cat.categories.tolist() == ["regular", "ghost:0.5", "spconv:0.125"]
        assert table[site].astype(str).tolist() == [str(r.architecture[site]) for r in records]
    assert table["state"].cat.categories.tolist() == ["complete", "stopped", "failed", "infeasible"]
    assert table.dtypes[["is_base", "on_front", "confirmed"]].eq(bool).all()
    assert table["is_base"].tolist() == [r.architecture.is_base for r in records]
    assert table["on_front"].sum() == len(files)
    assert table.loc[table["confirmed"], "trial"].tolist() == [2]
    write_trials(run.trials, [], SCORES, SITES)
    assert load_results(run.path).empty


def test_the_script_of_the_documentation_takes_any_run(
    repo_root: Path,
    tmp_path: Path,
    records: list[TrialRecord],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    bare = RunDirectory.create(tmp_path, "bare")
    write_trials(bare.trials, records[:1], SCORES, SITES)
    for run in (make_run(tmp_path, 60), bare):
        monkeypatch.setattr("sys.argv", ["analysis.py", str(run.path), str(tmp_path / run.name)])
        runpy.run_path(str(repo_root / "docs" / "analysis.py"))
        assert (tmp_path / run.name / "analysis.png").stat().st_size > 0
    out = capsys.readouterr().out
    assert "60 trials of 39 sites" in out
    assert "map50_95_again" in out
    assert "1 trials of 4 sites" in out
