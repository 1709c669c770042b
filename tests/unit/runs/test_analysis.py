"""Analyses of runs whose truth is known."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spnas.architecture import Architecture
from spnas.cli import main
from spnas.runs import RunDirectory, TrialRecord, read_run, write_trials
from spnas.runs.analysis import analyze, choice_effects, rank_stability, site_importance

from .made_up import SITES, make_run


def trials(number: int) -> tuple[list[TrialRecord], np.ndarray]:
    """Trials of six sites whose figure falls by 0.1 with anything at `b`, by 0.03 with spconv anywhere."""
    rng = random.Random(1)
    records, values = [], []
    for trial in range(number):
        chosen = {site: rng.choice(["regular", "ghost:0.5", "spconv:0.5"]) for site in "abcdef"}
        records.append(TrialRecord(trial, "complete", Architecture(chosen)))
        spconv = sum(choice == "spconv:0.5" for choice in chosen.values())
        figure = 0.9 - 0.1 * (chosen["b"] != "regular") - 0.03 * spconv
        values.append(figure + rng.gauss(0, 0.005))
    return records, np.array(values)


def test_the_site_that_matters_is_found_and_the_others_are_alike() -> None:
    records, values = trials(120)
    importance, explained = site_importance(records, values, list("abcdef"))
    assert explained > 0.95
    assert importance.argmax() == 1
    rest = np.delete(importance, 1)
    assert rest.max() < importance[1] / 3
    shuffled = np.random.default_rng(0).permutation(values)
    nothing, explained = site_importance(records, shuffled, list("abcdef"))
    assert explained < 0.1
    assert np.abs(nothing).max() < 0.1


def test_effects_of_choices_are_those_that_were_put_in() -> None:
    records, _ = trials(80)
    rng = np.random.default_rng(0)
    ghosts, spconvs = (
        np.array([sum(str(c) == choice for c in r.architecture.values()) for r in records])
        for choice in ("ghost:0.5", "spconv:0.5")
    )
    values = 0.5 - 0.01 * ghosts - 0.002 * spconvs + rng.normal(0, 0.003, len(records))
    effects, stds = choice_effects(records, values, ["regular", "ghost:0.5", "spconv:0.5"])
    assert (effects[0], stds[0]) == (0, 0)
    assert effects[1] == pytest.approx(-0.01, abs=4 * stds[1])
    assert effects[2] == pytest.approx(-0.002, abs=4 * stds[2])
    assert 0 < stds[1] < 0.001


def test_ranks_are_compared_as_kendall_did(tmp_path: Path) -> None:
    content = read_run(make_run(tmp_path, 60))
    table = rank_stability(content).set_index(["earlier", "later"])
    ended = {r.trial: r.scores["map50_95"] for r in content.in_state("complete")}
    again = pd.DataFrame([(r.trial, r.scores["map50_95"]) for r in content.again])
    means = again.groupby(0)[1].mean().to_dict()
    both = sorted(ended.keys() & means.keys())
    signs = [
        np.sign((ended[a] - ended[b]) * (means[a] - means[b])) for a, b in combinations(both, 2)
    ]
    row = table.loc[("end of the trial", "evaluated again")]
    assert row["trials"] == len(both)
    assert row["tau"] == pytest.approx(np.mean(signs))
    assert ("epoch 1", "end of the trial") in table.index


def test_the_command_prints_80_columns_and_writes_what_is_documented(
    tmp_path: Path,
    repo_root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = make_run(tmp_path, 60)
    assert main(["analyze", str(run.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines[1:-1]) <= 80
    sites = pd.read_csv(run.analysis_dir / "sites.csv")
    assert sites["site"].tolist() == list(SITES)
    choices = sites.drop(columns=["site", "accuracy_importance", "latency_importance"])
    assert choices.sum(axis="columns").nunique() == 1  # every front model chooses once a site
    text = (repo_root / "docs" / "results.md").read_text()
    for path in run.analysis_dir.iterdir():
        for column in pd.read_csv(path):
            assert f"`{column}`" in text or column in choices
    costs = pd.read_csv(run.analysis_dir / "costs.csv").set_index("phase")["device_s"]
    assert costs.sum() == pytest.approx(sum(read_run(run).costs.values()))


def test_runs_with_little_to_say(
    tmp_path: Path, records: list[TrialRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory.create(tmp_path, "run")
    run.config.write_text("space: x\n")
    assert main(["analyze", str(run.path)]) == 2
    assert "no trial has ended yet" in capsys.readouterr().err
    sites = ("model.1", "model.3")
    for some in ([], [TrialRecord(0, "failed", Architecture())], records[:1], records[:9]):
        write_trials(run.trials, some, ("map50_95", "map50"), sites)
        assert main(["analyze", str(run.path)]) == (0 if some else 2)
    assert "too few trials" in capsys.readouterr().out
    alike = [
        TrialRecord(n, "complete", Architecture(), scores={"map50_95": 0.5}) for n in range(30)
    ]
    write_trials(run.trials, alike, ("map50_95",), sites)
    assert analyze(read_run(run)).explained == {}
