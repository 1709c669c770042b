"""`spnas pareto`: from trials.csv alone, in any terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spnas.architecture import Architecture
from spnas.cli import main
from spnas.runs import RunDirectory, TrialRecord, write_confirmed, write_trials
from spnas.search.config import make_config, write_config

SITES = ("conv1", "layer1.0.conv1")


def trial(number: int, state: str, top1: float, latency: float, choice: str) -> TrialRecord:
    return TrialRecord(
        trial=number,
        state=state,  # type: ignore[arg-type]
        architecture=Architecture({"layer1.0.conv1": choice}),
        scores={"top1": top1},
        latency_ms=latency,
        latency_ratio=latency / 8,
        params=272_474,
        macs=40_813_184,
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path, "run")
    records = [
        trial(0, "complete", 0.9, 8.0, "regular"),
        trial(1, "complete", 0.92, 6.0, "ghost:0.5"),
        trial(2, "complete", 0.8, 4.0, "spconv:0.25"),
        trial(3, "stopped", 0.99, 1.0, "spconv:0.5"),
    ]
    write_trials(made.trials, records, ("top1",), SITES)
    return made


def test_json_has_the_front_and_the_base_beside_it(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pareto", str(run.path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["metric"] == "top1"
    assert content["trials"] == {"complete": 3, "stopped": 1, "failed": 0, "infeasible": 0}
    assert [row["trial"] for row in content["front"]] == [2, 1]
    assert content["front"][1]["latency_ratio"] == 0.75
    assert content["front"][1]["accuracy_difference"] == pytest.approx(0.02)
    assert content["base"]["trial"] == 0
    assert content["base"]["file"] is None


def test_a_confirmed_front_comes_with_what_is_more_than_noise(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 1 is lucky: the base is better than it when both are trained again."""
    again = {
        (number, seed): record
        for seed in (1, 2, 3)
        for number, record in enumerate(
            (
                trial(0, "complete", 0.95, 8.0, "regular"),
                trial(1, "complete", 0.85, 6.4, "ghost:0.5"),
                trial(2, "complete", 0.7, 4.0, "spconv:0.25"),
            )
        )
    }
    for record in again.values():
        record.scores["top1_std"] = 0.02
    write_confirmed(run.confirmed, again, ("top1",), SITES)
    assert main(["pareto", str(run.path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["confirmed"]
    assert [row["trial"] for row in content["front"]] == [2, 1, 0]
    assert content["front"][1]["latency_ratio"] == pytest.approx((0.75 + 3 * 0.8) / 4)
    found = {(d["trial"], d["other"]): d for d in content["differences"]}
    assert found[2, 0]["accuracy_is_real"]
    assert not found[2, 0]["latency_is_real"]  # its interval is not known
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["pareto", str(run.path)]) == 0
    text = capsys.readouterr().out
    assert "the front is confirmed" in text
    table = text[text.index("against") :].splitlines()
    assert table[1].split()[1] == "00"
    assert table[1].split()[-1] == "accuracy"
    assert max(map(len, table)) <= 80


def test_the_table_fits_80_columns_and_tells_of_missing_files(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["pareto", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("model", "pareto/", "base"))]
    assert [len(line.rstrip()) <= 80 for line in table] == [True] * 4
    assert table[2].split() == [
        f"pareto/01-{Architecture({'layer1.0.conv1': 'ghost:0.5'}).id}.yaml",
        *("6.00", "0.750", "0.9200", "+0.0200", "272.47k", "40.81M"),
    ]
    assert table[3].split()[:5] == ["base", "network", "8.00", "1.000", "0.9000"]
    assert any("2 of these model files are not written yet" in line for line in lines)
    assert not any(line.startswith("latency:") for line in lines)  # nothing says what was measured


def test_it_says_what_the_latencies_are_those_of(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"space": "resnet20-cifar", "budget": "3trials"})
    resolved = {"latency_batch": 32, "runtime": "onnxruntime", "latency_on": "cpu"}
    run.config.write_text(write_config(config, resolved))
    assert main(["pareto", str(run.path)]) == 0
    assert "latency: of 32 images at a time in onnxruntime on cpu\n" in capsys.readouterr().out
    run.config.write_text(write_config(config, {"latency_batch": 1, "runtime": None}))
    assert main(["pareto", str(run.path)]) == 0
    assert "latency: of one image\n" in capsys.readouterr().out


def test_a_run_without_a_complete_trial(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trials(run.trials, [trial(0, "stopped", 0.5, 1.0, "regular")], ("top1",), SITES)
    assert main(["pareto", str(run.path)]) == 0
    assert "no Pareto front yet" in capsys.readouterr().out
    assert main(["pareto", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["front"] == []


def test_a_run_in_which_nothing_met_the_limits(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    base, slow = (
        trial(0, "infeasible", 0.9, 8.0, "regular"),
        trial(1, "infeasible", 0, 6.0, "ghost:0.5"),
    )
    slow.error, slow.scores = "latency 6 ms, allowed 4 ms", {}
    write_trials(run.trials, [base, slow], ("top1",), SITES)
    assert main(["pareto", str(run.path)]) == 0
    assert "1 exceeded the run's limits, the last one: latency 6 ms" in capsys.readouterr().out


def test_what_is_no_run_gets_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pareto", str(tmp_path / "none")]) == 2
    assert main(["pareto", str(tmp_path)]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "no such folder" in err[0]
    assert "not a run directory" in err[1]


def test_it_imports_neither_torch_nor_ray(run: RunDirectory) -> None:
    code = (
        "import sys; from spnas.cli.pareto import run; import argparse, pathlib;"
        "run(argparse.Namespace(run=pathlib.Path(sys.argv[1]), json=True));"
        "heavy = {'torch', 'ray', 'ultralytics', 'optuna', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
