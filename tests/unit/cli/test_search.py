"""`spnas search` through the command line's entry point: what ends before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spnas.cli import main
from spnas.search.forecast import Costs


def test_a_runtime_that_cannot_be_used_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--space", "resnet20-cifar", "--budget", "2trials", "--device", "cpu"]
    assert main(["search", *options, "--results", str(tmp_path), "--runtime", "tensorrt"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("spnas: error: runtime tensorrt does not run on cpu, expected")
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_dry_run_tells_of_all_phases_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    costs = Costs(base_step_s=0.5, step_s=1.0, image_s=0.01, latency_s=3.0)
    monkeypatch.setattr("spnas.search.costs.measure_costs", lambda plan: costs)
    options = ["search", "--space", "resnet20-cifar", "--device", "cpu", "--dry-run"]
    options += ["--results", str(tmp_path / "results")]
    assert main([*options, "--budget", "1h"]) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= 80
    for phase in ("base network", "table and scores", "seeds", "trials", "confirmation"):
        assert f"\n{phase} " in table
    assert main([*options, "--budget", "20s", "--json"]) == 2
    content = json.loads(capsys.readouterr().out)
    assert content["problem"].startswith("the budget ends before the base network is trained")
    assert content["phases"][0]["share"] > 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options", [["--dry-run", "--quiet"], ["--dry-run", "--resume", "results/x"]]
)
def test_a_dry_run_is_not_mixed_with_what_it_cannot_be(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--space", "resnet20-cifar", "--budget", "1h", *options]) == 2
    assert "--dry-run" in capsys.readouterr().err
