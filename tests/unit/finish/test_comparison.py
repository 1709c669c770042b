"""Several runs on one scale: hypervolumes by hand, what is refused, what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spnas.architecture import Architecture
from spnas.cli import main
from spnas.errors import RunError
from spnas.finish import compare_runs
from spnas.runs import RunDirectory, TrialRecord, write_trials
from spnas.search.config import make_config, write_config


def trial(number: int, accuracy: float, ratio: float, metric: str = "top1") -> TrialRecord:
    choices = {} if number == 0 else {"conv1": f"ghost:{0.1 * number:.1f}"}
    return TrialRecord(
        trial=number,
        state="complete",
        architecture=Architecture(choices),
        scores={metric: accuracy},
        latency_ms=8 * ratio,
        latency_ratio=ratio,
    )


def write_run(
    root: Path, name: str, records: list[TrialRecord], metric: str = "top1", **resolved: object
) -> Path:
    run = RunDirectory.create(root, name)
    config = make_config({"space": "resnet20-cifar", "budget": "9trials"})
    facts = {"base": "resnet20-cifar", "task": "classify", "num_classes": 10, "imgsz": 32}
    run.config.write_text(write_config(config, facts | resolved))
    write_trials(run.trials, records, (metric,), ("conv1",))
    return run.path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = [trial(0, 0.9, 1.0), trial(1, 0.8, 0.5)]
    second = [trial(0, 0.7, 1.0), trial(1, 0.85, 0.75), trial(2, 0.2, 0.25)]
    return [write_run(tmp_path, "first", first), write_run(tmp_path, "second", second)]


def test_hypervolumes_are_down_to_one_reference_point(runs: list[Path]) -> None:
    found = compare_runs(runs)
    assert found.unit == "ratio"
    assert found.reference == pytest.approx((0.0, 1.1))
    assert found.hypervolumes == pytest.approx(
        [0.8 * 0.5 + 0.9 * 0.1, 0.2 * 0.5 + 0.85 * (1.1 - 0.75)]
    )
    given = compare_runs(runs, (0.5, 1.0)).hypervolumes
    assert given == pytest.approx([0.3 * 0.5, 0.35 * 0.25])
    assert found.warnings == []


def test_other_base_networks_are_compared_by_their_milliseconds(
    runs: list[Path], tmp_path: Path
) -> None:
    other = write_run(tmp_path, "other", [trial(0, 0.9, 0.5)], base="resnet56-cifar", imgsz=64)
    found = compare_runs([*runs, other])
    assert found.unit == "ms"
    assert found.reference[1] == pytest.approx(8.8)
    assert found.hypervolumes[2] == pytest.approx(0.9 * (8.8 - 4))
    assert found.warnings == ["imgsz differs: 32, 64"]


def test_runs_of_another_task_are_refused(runs: list[Path], tmp_path: Path) -> None:
    cells = write_run(
        *(tmp_path, "cells", [trial(0, 0.4, 1.0, "map50_95")], "map50_95"),
        task="detect",
        num_classes=3,
    )
    with pytest.raises(RunError) as error:
        compare_runs([runs[0], cells, runs[1]])
    assert error.value.problems == [
        f"{runs[0]} and {cells} are not comparable: metric 'top1' and 'map50_95', "
        "task 'classify' and 'detect', num_classes 10 and 3; expected one task"
    ]


def test_the_command_prints_a_table_and_draws_a_picture(
    runs: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["compare", "first", "second"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["first", "2", "2", "0.9000", "0.9000", "0.500", "0.4900"]
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert main(["compare", "first", "second", "--json", "--reference", "0.5", "1"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["reference"] == [0.5, 1.0]
    assert [run["models"] for run in content["runs"]] == [2, 2]
    assert main(["compare", "first", "secnd"]) == 2
    assert (
        capsys.readouterr().err
        == "spnas: error: run secnd: no such folder (did you mean second?)\n"
    )


def test_a_run_without_a_trial_is_told(tmp_path: Path) -> None:
    empty = write_run(tmp_path, "empty", [])
    with pytest.raises(RunError, match="nothing to compare"):
        compare_runs([empty])
