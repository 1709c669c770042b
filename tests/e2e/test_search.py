"""The command line on real data, from nothing to a front: real training, real Ray trials, a real study."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import spnas
from spnas.architecture import REGULAR
from spnas.latency import LatencyTable, count
from spnas.runs import RunDirectory, TrialRecord, read_records
from spnas.search.config import read_config
from spnas.search.objective import Evaluation, Evaluator
from spnas.search.plan import make_plan
from spnas.training import Library

from .conftest import run_cli

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


def check_run_directory(run: Path, metric: str, trials: int, sites: int) -> pd.DataFrame:
    """Assert what every run directory holds; give its trials."""
    for name in ("config.yaml", "environment.json", "study.db", "trials.csv", "pareto.csv"):
        assert (run / name).stat().st_size > 0
    assert (run / "pareto.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(run / "trials.csv", dtype={"arch_id": str})
    assert len(table) == trials
    assert sorted(table["trial"]) == list(range(trials))
    assert table["arch_id"].is_unique
    assert set(table["state"]) <= {"complete", "stopped", "infeasible"}
    base = table[table["trial"] == 0].iloc[0]
    assert base["origin"] == "base"
    infeasible = (table["state"] == "infeasible") & (table["trial"] > 0)
    assert table.loc[infeasible, metric].isna().all()
    assert table.loc[infeasible, "error"].astype(str).str.contains(", allowed ").all()
    columns = list(table.columns)
    assert len(columns[columns.index("error") + 1 :]) == sites
    assert (table.loc[table["trial"] > 0, columns[-sites:]] != "regular").any(axis=1).all()
    assert (table.loc[~infeasible, "latency_ms"] > 0).all()
    assert table.loc[~infeasible, metric].between(0, 1).all()
    for trial in table["trial"]:
        assert "parameters" in RunDirectory(run).trial_log(trial).read_text()
    assert b"chart-front" in (run / "report.html").read_bytes()
    costs = pd.read_csv(run / "costs.csv")
    assert costs["share"].sum() == pytest.approx(1, abs=0.001)
    phases = costs.set_index("phase")["device_s"]
    assert phases["trials"] >= 0.5 * table["device_s"].sum()
    assert phases["base network"] > 0
    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.partition("+")[0]
    return table


def check_front(run: Path, table: pd.DataFrame, metric: str) -> list[spnas.networks.ParetoModel]:  # type: ignore[name-defined]
    """Assert that the front is that of the complete trials and that its models are those of the table."""
    front = pd.read_csv(run / "pareto.csv", dtype={"arch_id": str})
    complete = table[table["state"] == "complete"]
    for _, row in complete.iterrows():
        better = (complete[metric] >= row[metric]) & (complete["latency_ms"] <= row["latency_ms"])
        dominated = (better & (complete["trial"] != row["trial"])).any()
        assert dominated or row["arch_id"] in set(front["arch_id"])
    models = spnas.load_pareto(run)
    assert [m.path.name for m in models] == [Path(f).name for f in front["file"]]
    assert sorted(p.name for p in (run / "pareto").iterdir()) == [m.path.name for m in models]
    imgsz = yaml.safe_load((run / "config.yaml").read_text())["resolved"]["imgsz"]
    for model, (_, row) in zip(models, front.iterrows(), strict=True):
        counts = count(model.build(), imgsz)
        assert (counts.params, counts.macs) == (row["params"], row["macs"])
        assert model.architecture.id == row["arch_id"]
        assert model.metrics[metric] == pytest.approx(row[metric])
    return models


def test_detection(detection_run: Path) -> None:
    table = check_run_directory(detection_run, "map50_95", trials=3, sites=39)
    assert table.loc[table["trial"] == 0, "state"].item() == "complete"
    assert (table.loc[table["state"] == "infeasible", "latency_ratio"] > 1).all()
    check_front(detection_run, table, "map50_95")


def test_classification(classification_run: Path) -> None:
    table = check_run_directory(classification_run, "top1", trials=6, sites=19)
    check_front(classification_run, table, "top1")
    assert table["top1"].nunique() > 1


def test_operators_are_fitted_once_where_that_is_asked_for(
    classification_run: Path, detection_run: Path
) -> None:
    run = RunDirectory.open(classification_run)
    space = make_plan(read_config(run.config)[0]).space
    pairs = {f"{s}|{c}" for s, choices in space.choices.items() for c in choices if c != REGULAR}
    assert set(Library.load(run.library).states) == pairs
    assert run.log.read_text().count("operator library: built") == 1
    assert not RunDirectory.open(detection_run).library.exists()


def test_the_latency_table_holds_every_choice(
    classification_run: Path, detection_run: Path
) -> None:
    run = RunDirectory.open(classification_run)
    table = LatencyTable.from_json(json.loads(run.latency_table.read_text()))
    space = make_plan(read_config(run.config)[0]).space
    for site, choices in space.choices.items():
        assert set(table.times[site]) == {*choices, REGULAR}
    assert not RunDirectory.open(detection_run).latency_table.exists()


def test_what_exceeds_the_limits_is_not_trained_but_for_the_base(classification_run: Path) -> None:
    table = pd.read_csv(classification_run / "trials.csv").sort_values("trial").iloc[:6]
    assert table["state"].tolist() == ["infeasible"] * 2 + ["complete"] * 4
    assert table["error"].tolist()[:2] == [f"params {n}, allowed 110000" for n in (272474, 141866)]
    assert table["epochs"].tolist() == [1, 0, 1, 1, 1, 1]
    assert table["latency_ms"].isna().tolist() == [False, True, False, False, False, False]
    assert table["top1"].isna().tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("made_by", "metric"), [("classification_run", "top1"), ("detection_run", "map50_95")]
)
def test_a_front_model_trains_to_the_accuracy_in_the_table(
    made_by: str, metric: str, request: pytest.FixtureRequest
) -> None:
    run = RunDirectory.open(request.getfixturevalue(made_by))
    config = read_config(run.config)[0]
    if run.data.is_file():
        config = config.model_copy(update={"data": str(run.data)})
    library = run.library if config.inherit != "weights" else None
    evaluator = Evaluator(make_plan(config).settings(run.base_weights, library=library))
    model = spnas.load_pareto(run.path)[0]
    again = evaluator.evaluate(model.architecture, lambda _evaluation: True)
    assert again.scores[metric] == pytest.approx(model.metrics[metric], abs=1e-6)


def overlap(one: TrialRecord, other: TrialRecord) -> bool:
    """Whether two trials ran at the same time."""
    return (
        one is not other and one.started < other.finished and other.started < one.finished  # type: ignore[operator]
    )


def agree(one: TrialRecord | Evaluation, other: TrialRecord | Evaluation) -> bool:
    """Whether the 95% intervals of two latency ratios overlap."""
    return (
        one.latency_ratio_low < other.latency_ratio_high  # type: ignore[operator]
        and other.latency_ratio_low < one.latency_ratio_high  # type: ignore[operator]
    )


@pytest.mark.skipif(
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1,
    reason="other tests run beside this one, which no lock holds back: run it without -n",
)
@pytest.mark.parametrize("made_by", ["classification_run", "detection_run"])
def test_what_was_measured_in_a_running_search_agrees_with_what_an_idle_machine_gives(
    made_by: str, request: pytest.FixtureRequest
) -> None:
    """Within the 95% intervals that both measurements state; the search trained in all its slots meanwhile."""
    run = RunDirectory.open(request.getfixturevalue(made_by))
    config = read_config(run.config)[0]
    if run.data.is_file():
        config = config.model_copy(update={"data": str(run.data)})
    plan = make_plan(config)
    evaluator = Evaluator(plan.settings(run.base_weights))
    records = read_records(run.trials)
    measured = [r for r in records if r.trial > 0 and r.latency_ratio]
    assert len(measured) >= 2
    undisturbed = [r for r in measured if not r.latency_warning]
    assert undisturbed
    if plan.slots > 1:  # the last one may be alone
        assert any(overlap(found, other) for found in measured for other in records)
    for found in undisturbed:
        model = evaluator.assemble(found.architecture)
        # An interval of 95% misses one time in twenty: where the first does not agree, two more are asked.
        assert any(agree(found, evaluator.measure(model, Evaluation())) for _ in range(3))


def test_the_pareto_command_shows_the_front(classification_run: Path) -> None:
    done = run_cli("pareto", classification_run, "--json", cwd=classification_run)
    assert done.returncode == 0
    shown = json.loads(done.stdout)
    front = pd.read_csv(classification_run / "pareto.csv", dtype={"arch_id": str})
    assert [row["file"] for row in shown["front"]] == front["file"].tolist()
    assert shown["base"]["latency_ratio"] == 1
    assert shown["base"]["file"] is None  # it exceeds the limits
    assert 0 < shown["base"]["accuracy"] <= 1


def test_resume_goes_on_where_the_budget_is_raised_and_confirms_the_front(
    classification_run: Path,
) -> None:
    before = pd.read_csv(classification_run / "trials.csv", dtype={"arch_id": str})
    assert not (classification_run / "confirmed.csv").exists()  # a fifth of six is one
    done = run_cli(
        *("search", "--resume", classification_run),
        *("--budget", "8trials", "--confirm-share", "0.9"),
        cwd=classification_run.parents[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = pd.read_csv(classification_run / "trials.csv", dtype={"arch_id": str})
    assert len(after) == 8
    assert (after.iloc[6:]["params"] <= 110_000).eq(after.iloc[6:]["state"] == "complete").all()
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before, check_dtype=False)
    check_confirmation(classification_run, after, evaluations=7)
    assert "more than noise" in done.stdout
    log = RunDirectory.open(classification_run).log.read_text()
    assert "the front is confirmed" in log
    assert log.count("operator library: built") == 1  # found, not made again


def check_confirmation(run: Path, trials: pd.DataFrame, evaluations: int) -> None:
    """Assert that base and front were evaluated again, longer, and that the front holds their means."""
    again = pd.read_csv(run / "confirmed.csv", dtype={"arch_id": str})
    assert len(again) == evaluations
    assert again["trial"].iloc[0] == 0
    assert again["epochs"].eq(2).all()  # the trials had one
    assert not again.duplicated(["trial", "seed"]).any()
    assert set(again["arch_id"]) <= set(trials["arch_id"])
    measured = again[(again["seed"] == 1) & (again["trial"] > 0)]
    assert again["latency_ratio"].notna().eq(again.index.isin(measured.index)).all()
    front = pd.read_csv(run / "pareto.csv", dtype={"arch_id": str})
    assert front["top1"].is_monotonic_increasing
    for _, model in front.iterrows():
        own = again[again["trial"] == model["trial"]]
        assert model["seeds"] == len(own)
        assert model["top1"] == pytest.approx(own["top1"].mean())
        first = trials.set_index("trial")["latency_ratio"][model["trial"]]
        both = [first, *own["latency_ratio"].dropna()]
        if not own["latency_warning"].notna().any():
            assert model["latency_ratio"] == pytest.approx(sum(both) / len(both))
