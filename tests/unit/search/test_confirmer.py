from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from spnas.architecture import Architecture
from spnas.runs import RunDirectory, TrialRecord, read_records, read_trials
from spnas.search.budget import Budget, Ledger
from spnas.search.confirmer import Confirmer
from spnas.search.limits import Limits
from spnas.search.objective import Evaluation
from spnas.search.spending import reserve_for_confirmation, spent_so_far
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace

Make = Callable[..., Confirmer]
SITES = ("layer1.0.conv1", "layer1.1.conv1")


def evaluation(top1: float = 0.8, ratio: float | None = None) -> Evaluation:
    ratios = (
        {}
        if ratio is None
        else {"latency_ratio_low": ratio - 0.01, "latency_ratio_high": ratio + 0.01}
    )
    return Evaluation(
        epochs=4,
        scores={"top1": top1, "top1_std": 0.01},
        latency_ratio=ratio,
        latency_ms=None if ratio is None else 10 * ratio,
        train_s=1.0,
        **ratios,
    )


def add_trials(study: SearchStudy, ratios: tuple[float, ...] = (1.0, 0.6, 0.8)) -> None:
    """Evaluate the base and a front of two models, and keep them in the study."""
    architectures = [Architecture(), *(Architecture({site: "ghost:0.5"}) for site in SITES)]
    study.enqueue([(a, "base" if a.is_base else "uniform") for a in architectures])
    for ratio in ratios:
        proposal = study.propose()
        assert proposal is not None
        known = evaluation(0.9 * ratio, ratio)
        record = TrialRecord(
            trial=proposal.trial,
            state="complete",
            architecture=proposal.architecture,
            origin=proposal.origin,
            **vars(known),
        )
        study.record(proposal, record)


@pytest.fixture
def make(tmp_path: Path, space: SearchSpace, clock: Any) -> Make:
    """Open the run, its study with three trials in it, and a confirmer on it."""

    def make(
        budget: str = "100s", share: float = 0.2, slots: int = 1, limits: Limits | None = None
    ) -> Confirmer:
        path = tmp_path / "run"
        run = RunDirectory.open(path) if path.exists() else RunDirectory.create(tmp_path, "run")
        run.config.write_text("space: small\nbudget: 1m\n")
        study = SearchStudy(run.study, space, "top1", seed=0)
        study.limits = limits or Limits()
        if not study.records:
            add_trials(study)
        ledger = Ledger(Budget.parse(budget), slots, spent=spent_so_far(study), clock=clock)
        reserve_for_confirmation(study, ledger, share)
        ledger.begin_phase(10.0)
        return Confirmer(
            run,
            study,
            ledger,
            share=share,
            score_columns=("top1",),
            sites=SITES,
            seed=7,
            slots=slots,
            devices_per_trial=1.0,
            clock=clock,
        )

    return make


def run_one(confirmer: Confirmer, clock: Any, known: Evaluation | None = None) -> dict[str, Any]:
    one = confirmer.start("a")
    assert one is not None
    clock.now += 10
    measured = one.record.latency_ratio if one.task["latency"] else None
    confirmer.end("a", known or evaluation(0.85, measured), None)
    return one.task


def test_every_model_is_trained_with_three_fresh_seeds_and_measured_once(
    make: Make, clock: Any
) -> None:
    confirmer = make("1000s")
    tasks = [run_one(confirmer, clock) for _ in range(9)]
    assert confirmer.start("a") is None
    assert confirmer.finished == "all is evaluated again"
    assert {(t["trial"], t["seed"]) for t in tasks} == {
        (n, s) for n in range(3) for s in (8, 9, 10)
    }
    assert [t["trial"] for t in tasks if t["latency"]] == [t["trial"] for t in tasks[1:3]]
    table = read_trials(confirmer.run.confirmed)
    assert table["seed"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert table["epochs"].eq(4).all()
    assert table["device_s"].eq(10).all()
    assert read_records(confirmer.run.confirmed) == list(confirmer.done.values())
    assert pd.read_csv(confirmer.run.confirmed).shape == table.shape


def test_it_ends_with_the_budget(make: Make, clock: Any) -> None:
    confirmer = make("35s")
    for _ in range(3):
        run_one(confirmer, clock)
    assert confirmer.start("a") is None
    assert confirmer.finished == "the budget is spent"


def test_it_does_not_begin_where_only_the_base_would_fit(make: Make) -> None:
    assert make("21s").is_worthwhile()
    assert not make("19s").is_worthwhile()
    assert make("11s", slots=2).is_worthwhile()  # both at once


@pytest.mark.parametrize(("share", "allowed"), [(0.2, 0), (0.5, 5), (0.9, 9)])
def test_a_budget_in_trials_allows_a_share_of_them_beside_it(
    make: Make, clock: Any, share: float, allowed: int
) -> None:
    confirmer = make("10trials" if share > 0.2 else "6trials", share=share)
    assert confirmer.is_worthwhile() == (allowed > 0)
    for _ in range(allowed):
        run_one(confirmer, clock)
    if allowed:
        assert confirmer.start("a") is None


def test_a_killed_confirmation_goes_on_where_it_was(make: Make, clock: Any) -> None:
    first = make("1000s")
    done = [run_one(first, clock) for _ in range(4)]
    lost = first.start("b")
    assert lost is not None
    first.study.close()

    second = make("1000s")
    assert second.done == first.done
    tasks = [run_one(second, clock) for _ in range(5)]
    assert tasks[0] == lost.task
    assert len({(t["trial"], t["seed"]) for t in [*done, *tasks]}) == 9
    assert second.start("a") is None


def test_what_changed_is_evaluated_and_the_rest_kept(make: Make, clock: Any) -> None:
    """A further trial that dominates one of the front, after the budget was raised."""
    first = make("1000s")
    for _ in range(6):
        run_one(first, clock)
    proposal = first.study.propose()
    assert proposal is not None
    record = TrialRecord(
        trial=proposal.trial,
        state="complete",
        architecture=proposal.architecture,
        **vars(evaluation(0.95, 0.5)),
    )
    first.study.record(proposal, record)
    first.study.close()
    second = make("2000s")
    assert [run_one(second, clock)["trial"] for _ in range(2)] == [proposal.trial] * 2


def test_part_of_the_budget_is_kept_from_the_trials(make: Make, clock: Any) -> None:
    """A fifth of what the first phases left, less what was confirmed already."""
    confirmer = make("100s")
    study = confirmer.study

    def left_for_trials(budget: str, spent: float) -> float:
        ledger = Ledger(Budget.parse(budget), 1, spent=spent, clock=clock)
        reserve_for_confirmation(study, ledger, 0.2)
        return ledger.seconds_left() or 0.0

    assert left_for_trials("100s", spent=0) == 80
    assert left_for_trials("100s", spent=40) == 40
    run_one(confirmer, clock)
    assert left_for_trials("100s", spent=90) == 0
    # 10 s of the raised budget's 40 s of confirmation are spent.
    assert left_for_trials("200s", spent=90) == 200 - 90 - 30
    assert left_for_trials("200s", spent=90 + 40) == 200 - 130 - 30


def test_too_slow_by_both_measurements_is_not_trained_again(make: Make, clock: Any) -> None:
    confirmer = make("1000s", limits=Limits(latency_ratio=0.85))
    run_one(confirmer, clock)
    run_one(confirmer, clock)
    slow = confirmer.start("a")
    assert slow is not None
    assert slow.record.latency_ratio == 0.8
    record = confirmer.end("a", evaluation(0.8, 0.92), None)
    assert (record.state, record.error) == ("infeasible", "latency 8.6 ms, allowed 8.5 ms")
    assert slow.record.trial not in {record.trial for record, _ in confirmer.to_do}


def test_a_failure_is_kept_and_not_repeated(make: Make, clock: Any) -> None:
    confirmer = make("1000s")
    run_one(confirmer, clock)
    failing = confirmer.start("a")
    assert failing is not None
    confirmer.end("a", None, "TrainingError: the loss is nan")
    assert failing.record.trial not in {record.trial for record, _ in confirmer.to_do}
    assert confirmer.finished is None
    assert read_trials(confirmer.run.confirmed)["error"].tolist()[1].endswith("the loss is nan")


def test_what_failed_in_one_sitting_is_tried_again_in_the_next(make: Make, clock: Any) -> None:
    confirmer = make("1000s")
    base = confirmer.start("a")
    assert base is not None
    worthless = Evaluation(epochs=4, scores={"top1": math.nan})
    record = confirmer.end("a", worthless, None)
    assert (record.state, record.scores) == ("failed", {})
    confirmer.study.close()
    again = make("1000s").start("a")
    assert again is not None
    assert again.task == base.task


def test_where_the_base_fails_it_ends(make: Make) -> None:
    confirmer = make("1000s")
    assert confirmer.start("a") is not None
    confirmer.end("a", None, "DataError: no folder")
    assert confirmer.start("a") is None
    assert confirmer.finished == "re-evaluations fail, the last one: DataError: no folder"


def test_what_a_dead_worker_had_is_given_to_another_once(make: Make) -> None:
    confirmer = make("1000s")
    first = confirmer.start("a")
    assert first is not None
    confirmer.lose("a", "the worker died")
    again = confirmer.start("b")
    assert again is not None
    assert again.task == first.task
    confirmer.lose("b", "the worker died")
    assert [r.error for r in confirmer.done.values()] == ["twice: the worker died"]
