from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from spnas.architecture import Architecture
from spnas.runs import TrialRecord, front_rows, read_records, read_trials
from spnas.search import patience
from spnas.search.config import SamplerName
from spnas.search.coordinator import Coordinator
from spnas.search.kept_trials import Proposal
from spnas.search.limits import Limits
from spnas.search.objective import Evaluation
from spnas.search.promise import PromiseRule
from spnas.search.seeds import seed_architectures
from spnas.search.spending import spent_so_far
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace, load_space

Make = Callable[..., Coordinator]


def evaluation(
    architecture: Architecture, epochs: int = 2, accuracy: float | None = None
) -> Evaluation:
    """An accuracy and a latency that both fall with the number of replaced sites."""
    replaced = len(architecture)
    top1 = 0.9 - 0.1 * replaced if accuracy is None else accuracy
    return Evaluation(
        epochs=epochs,
        scores={"top1": top1},
        latency_ms=10.0 - replaced,
        latency_ratio=1.0 - 0.1 * replaced,
        params=1000,
        macs=2000,
        train_s=1.0,
    )


def run_one(coordinator: Coordinator, key: str = "a") -> Proposal:
    proposal = coordinator.start(key)
    assert proposal is not None
    coordinator.end(key, evaluation(proposal.architecture), None)
    return proposal


def test_base_first_then_uniform_then_mixtures(make_coordinator: Make, space: SearchSpace) -> None:
    coordinator = make_coordinator()
    seeds = seed_architectures(space)
    coordinator.study.enqueue(seeds)
    proposals = [run_one(coordinator) for _ in seeds]
    assert [p.architecture for p in proposals] == [a for a, _ in seeds]
    assert [p.origin for p in proposals][:3] == ["base", "uniform", "uniform"]
    assert [p.trial for p in proposals] == list(range(len(seeds)))
    assert proposals[0].architecture.is_base


def test_evaluates_each_architecture_of_a_space_exactly_once(make_coordinator: Make) -> None:
    coordinator = make_coordinator(rungs=())
    seen = []
    while (proposal := coordinator.start("a")) is not None:
        seen.append(proposal.architecture)
        coordinator.end("a", evaluation(proposal.architecture), None)
    assert len(seen) == len(set(seen)) == 27
    assert coordinator.finished == "every architecture of the space has been evaluated"


def test_fills_its_slots_and_no_more(make_coordinator: Make) -> None:
    coordinator = make_coordinator(slots=2)
    first, second = coordinator.start("a"), coordinator.start("b")
    assert first is not None
    assert second is not None
    assert first.architecture != second.architecture
    assert coordinator.start("c") is None
    assert coordinator.finished is None
    coordinator.end("a", evaluation(first.architecture), None)
    assert coordinator.start("c") is not None


def test_ends_with_its_number_of_trials(make_coordinator: Make) -> None:
    coordinator = make_coordinator(budget="3trials")
    for _ in range(3):
        run_one(coordinator)
    assert coordinator.start("a") is None
    assert "budget" in (coordinator.finished or "")


def test_where_nothing_is_faster_the_base_alone_is_evaluated(
    make_coordinator: Make, space: SearchSpace
) -> None:
    coordinator = make_coordinator(slots=2)
    coordinator.study.enqueue(seed_architectures(space))
    coordinator.only_base = "no choice is faster"
    assert coordinator.start("a") is not None
    assert coordinator.start("b") is None
    coordinator.lose("a", "its worker died")
    again = coordinator.start("c")
    assert again is not None
    assert again.architecture.is_base
    assert coordinator.finished is None
    coordinator.end("c", evaluation(Architecture()), None)
    assert coordinator.start("d") is None
    assert coordinator.finished == "no choice is faster"
    assert [record.architecture.is_base for record in coordinator.front] == [True]


def test_starts_nothing_that_would_overrun(make_coordinator: Make, clock: object) -> None:
    coordinator = make_coordinator(budget="100s", slots=1)
    proposal = coordinator.start("a")
    assert proposal is not None
    clock.now += 60  # type: ignore[attr-defined]
    coordinator.end("a", evaluation(proposal.architecture), None)
    assert coordinator.records[0].device_s == 60
    assert coordinator.start("b") is None
    assert coordinator.finished is not None


@pytest.mark.parametrize(
    ("reserved", "trials"),
    [
        (60, 14),  # three in a row: the base and two of the front's three models
        (59, 14),  # as much as it takes, up to twice what was meant for it
        (30, 14),
        (29, 20),
        (0, 20),
    ],
)
def test_what_cannot_confirm_half_of_the_front_is_left_to_trials(
    make_coordinator: Make,
    clock: Any,
    caplog: pytest.LogCaptureFixture,
    reserved: float,
    trials: int,
) -> None:
    caplog.set_level("INFO", logger="spnas")
    coordinator = make_coordinator(budget="201s", slots=1)
    coordinator.ledger.reserve(reserved)
    coordinator.ledger.expect_trial(10)
    started = 0
    while (proposal := coordinator.start("a")) is not None:
        started += 1
        clock.now += 10
        coordinator.end("a", evaluation(proposal.architecture), None)
    assert [len(record.architecture) for record in coordinator.front] == [3, 2, 1, 0]
    assert started == trials
    told = "takes about 1.0 min, 0.5 min are kept for it: they go to trials" in caplog.text
    assert told == (reserved == 29)


def test_a_spent_budget_stops_a_trial_at_its_rung(make_coordinator: Make, clock: object) -> None:
    coordinator = make_coordinator(budget="100s", slots=1)
    proposal = coordinator.start("a")
    assert proposal is not None
    clock.now += 101  # type: ignore[attr-defined]
    assert not coordinator.goes_on("a", evaluation(proposal.architecture, epochs=1))
    record = coordinator.end("a", None, None)
    assert record.state == "stopped"
    assert record.error == "budget: spent at epoch 1"
    assert coordinator.front == []


def test_stops_a_dominated_trial_and_keeps_it_off_the_front(make_coordinator: Make) -> None:
    coordinator = make_coordinator(grace=1, slots=3)
    good, bad = coordinator.start("good"), coordinator.start("bad")
    assert good is not None
    assert bad is not None
    assert coordinator.goes_on("good", evaluation(good.architecture, 1, accuracy=0.9))
    worse = Evaluation(epochs=1, scores={"top1": 0.1}, latency_ms=99.0, latency_ratio=9.9)
    went_on = coordinator.goes_on("bad", worse)
    assert went_on == bad.architecture.is_base
    record = coordinator.end("bad", None, None)
    assert record.state == "stopped"
    assert record.scores == {"top1": 0.1}
    assert record.epochs == 1
    assert coordinator.front == []


def test_a_failed_trial_keeps_its_reason_and_is_not_tried_again(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    proposal = coordinator.start("a")
    assert proposal is not None
    record = coordinator.end("a", None, "TrainingError: the loss is nan")
    assert (record.state, record.error) == ("failed", "TrainingError: the loss is nan")
    rest = [run_one(coordinator).architecture for _ in range(26)]
    assert proposal.architecture not in rest


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_trial_without_an_accuracy_has_failed(
    make_coordinator: Make, value: float | None
) -> None:
    coordinator = make_coordinator()
    coordinator.start("a")
    scores = {} if value is None else {"top1": value}
    record = coordinator.end("a", Evaluation(epochs=2, scores=scores, latency_ms=1.0), None)
    assert record.state == "failed"
    assert coordinator.front == []


def test_a_trial_slower_than_allowed_is_infeasible_and_off_the_front(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator(limits=Limits(latency_ratio=1.0))
    coordinator.start("a")
    slow = Evaluation(
        latency_ms=12.0, latency_ratio=1.2, latency_warning="throttled", params=1, macs=2
    )
    record = coordinator.end("a", slow, None)
    assert (record.state, record.epochs) == ("infeasible", 0)
    assert record.error == "latency 12 ms, allowed 10 ms"
    assert record.latency_warning == "throttled"
    assert coordinator.front == []
    assert make_coordinator().records == [record]


def test_a_base_above_the_limits_is_the_reference_but_not_on_the_front(
    make_coordinator: Make, space: SearchSpace
) -> None:
    """It is trained, stopped at no rung, its figures are kept, and no rung compares others with it."""
    coordinator = make_coordinator(limits=Limits(latency_ratio=0.95), grace=0, slots=1)
    coordinator.study.enqueue(seed_architectures(space))
    base = coordinator.start("a")
    assert base is not None
    assert coordinator.goes_on("a", evaluation(base.architecture, epochs=1))
    record = coordinator.end("a", evaluation(base.architecture), None)
    assert (record.state, record.error) == ("infeasible", "latency 10 ms, allowed 9.5 ms")
    assert record.scores == {"top1": 0.9}
    other = coordinator.start("a")
    assert other is not None
    assert coordinator.goes_on("a", evaluation(other.architecture, 1, accuracy=0.1))
    kept = coordinator.end("a", evaluation(other.architecture), None)
    assert kept.state == "complete"
    assert coordinator.front == [kept]
    rows = front_rows(coordinator.records, "top1")
    assert [(row.trial, row.file is None) for row in rows] == [(1, False), (0, True)]
    assert rows[0].accuracy_difference == pytest.approx(kept.scores["top1"] - 0.9)


def test_the_sampler_is_told_by_how_much_a_limit_is_exceeded(make_coordinator: Make) -> None:
    limits = Limits(latency_ratio=1.0, params=1000)
    coordinator = make_coordinator(limits=limits)
    for known in (
        Evaluation(params=1500),
        Evaluation(params=1000, latency_ms=12.0, latency_ratio=1.25),
        Evaluation(params=900, latency_ms=5, latency_ratio=0.5, epochs=2, scores={"top1": 0.5}),
    ):
        coordinator.start("a")
        coordinator.end("a", known, None)
    coordinator.study.close()
    trials = optuna.load_study(
        study_name="spnas", storage=f"sqlite:///{coordinator.run.study}"
    ).trials
    assert [trial.constraints for trial in trials] == [{"params": 0.5}, {"latency": 0.25}, {}]
    assert [trial.state.name for trial in trials] == ["PRUNED", "PRUNED", "COMPLETE"]


def test_limits_that_no_candidate_meets_end_the_search(
    make_coordinator: Make, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_MOST_INFEASIBLE", 10)
    coordinator = make_coordinator(limits=Limits(params=1000))
    coordinator.study.enqueue(seed_architectures(space))
    run_one(coordinator)  # the base, feasible
    for candidate in range(10):
        assert coordinator.finished is None
        assert coordinator.start("a") is not None
        coordinator.end("a", Evaluation(params=1300 - candidate % 7), None)
    assert coordinator.start("a") is None
    assert coordinator.finished == (
        "none of 10 candidates met the limits; trial 7 came nearest: params 1294, allowed 1000; "
        "expected larger limits or another space"
    )


def test_one_candidate_that_meets_the_limits_keeps_a_search_going(
    make_coordinator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_MOST_INFEASIBLE", 5)
    coordinator = make_coordinator(limits=Limits(params=1000))
    run_one(coordinator)
    for _ in range(20):
        assert coordinator.start("a") is not None
        coordinator.end("a", Evaluation(params=2000), None)
    assert coordinator.finished is None


def test_resuming_keeps_every_record_and_runs_lost_trials_once(make_coordinator: Make) -> None:
    first = make_coordinator(slots=3)
    done = [run_one(first) for _ in range(4)]
    lost = first.start("b")
    assert lost is not None
    first.goes_on("b", evaluation(lost.architecture, epochs=1))
    records = first.records
    first.study.close()

    second = make_coordinator(slots=3)
    assert second.records == records
    assert second.study.recover() == 1
    again = second.start("x")
    assert again is not None
    assert (again.trial, again.architecture, again.origin) == (
        lost.trial,
        lost.architecture,
        lost.origin,
    )
    second.end("x", evaluation(again.architecture), None)
    third = make_coordinator()
    assert third.study.recover() == 0
    assert sorted(r.trial for r in third.records) == [*(p.trial for p in done), lost.trial]


def test_a_record_kept_but_not_told_is_told_on_resume(
    make_coordinator: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_coordinator()
    proposal = first.start("a")
    assert proposal is not None

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SearchStudy, "_tell", killed)
        with pytest.raises(KeyboardInterrupt):
            first.end("a", evaluation(proposal.architecture), None)
    first.study.close()

    second = make_coordinator()
    assert [r.trial for r in second.records] == [proposal.trial]
    assert second.study.recover() == 0
    assert make_coordinator().study.recover() == 0
    following = second.start("b")
    assert following is not None
    assert following.trial == proposal.trial + 1
    assert following.architecture != proposal.architecture


def test_spending_and_table_are_on_disk_after_each_trial(
    make_coordinator: Make, clock: object
) -> None:
    coordinator = make_coordinator(budget="1000s", slots=2)
    proposal = coordinator.start("a")
    assert proposal is not None
    clock.now += 10  # type: ignore[attr-defined]
    coordinator.end("a", evaluation(proposal.architecture), None)
    assert spent_so_far(make_coordinator().study) == 20
    table = read_trials(coordinator.run.trials)
    assert table["arch_id"].tolist() == [proposal.architecture.id]
    assert table["state"].tolist() == ["complete"]


def test_front_and_hypervolume(make_coordinator: Make) -> None:
    coordinator = make_coordinator(rungs=())
    for _ in range(27):
        run_one(coordinator)
    # Accuracy and latency both fall with each of the three sites: one point of each count is on the front.
    assert [len(r.architecture) for r in coordinator.front] == [3, 2, 1, 0]
    # Dominated area up to the ratio 1.25: steps at the ratios .7 .8 .9 1 with accuracies .6 .7 .8 .9.
    expected = 0.1 * (0.6 + 0.7 + 0.8) + 0.25 * 0.9
    assert coordinator.hypervolume() == pytest.approx(expected)


def test_a_lost_trial_is_run_again_once_and_then_failed(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    run_one(coordinator)
    first = coordinator.start("b")
    assert first is not None
    coordinator.lose("b", "node:jetson is gone")
    assert len(coordinator.records) == 1
    again = coordinator.start("c")
    assert again == first
    coordinator.lose("c", "node:jetson is gone")
    assert coordinator.records[-1].error == "twice: node:jetson is gone"
    assert [(r.trial, r.state) for r in coordinator.records] == [
        (0, "complete"),
        (first.trial, "failed"),
    ]
    other = coordinator.start("d")
    assert other is not None
    assert other.architecture != first.architecture


def test_a_base_that_fails_ends_the_search(make_coordinator: Make, space: SearchSpace) -> None:
    coordinator = make_coordinator()
    coordinator.study.enqueue(seed_architectures(space))
    assert coordinator.start("a") is not None
    coordinator.end("a", None, "DataError: no folder")
    assert coordinator.start("b") is None
    assert coordinator.finished == "the base network's own trial failed: DataError: no folder"


@pytest.mark.parametrize("how", ["failed", "interrupted"])
def test_a_base_that_did_not_come_to_its_end_is_run_again_when_the_search_goes_on(
    how: str, make_coordinator: Make, space: SearchSpace
) -> None:
    coordinator = make_coordinator()
    coordinator.study.enqueue(seed_architectures(space))
    assert not coordinator.study.repeat_base()
    assert coordinator.start("a") is not None
    if how == "failed":
        coordinator.end("a", None, "twice: its worker died")
    else:
        coordinator.running["a"].stopped = "the search was ended"
        coordinator.end("a", evaluation(Architecture(), epochs=1), None)
    coordinator.study.close()

    resumed = make_coordinator()
    assert resumed.study.repeat_base()
    assert resumed.records == []
    while not (proposal := run_one(resumed)).architecture.is_base:
        pass
    assert (proposal.trial, proposal.origin) == (0, "base")
    assert not resumed.study.repeat_base()
    numbers = [record.trial for record in resumed.records]
    assert len(numbers) == len(set(numbers))
    resumed.study.close()
    bases = [r for r in make_coordinator().records if r.architecture.is_base]
    assert [(record.trial, record.state) for record in bases] == [(0, "complete")]


def test_the_base_is_not_stopped_by_a_spent_budget(
    make_coordinator: Make, space: SearchSpace, clock: Any
) -> None:
    """All others are compared with it."""
    coordinator = make_coordinator(budget="100s", slots=1)
    coordinator.study.enqueue(seed_architectures(space))
    assert coordinator.start("a") is not None
    clock.now += 101
    assert coordinator.goes_on("a", evaluation(Architecture(), epochs=1))
    assert coordinator.end("a", evaluation(Architecture()), None).state == "complete"


def test_a_space_that_is_used_up_but_for_a_seed_passed_over_ends_the_search(
    make_coordinator: Make, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = make_coordinator(rungs=())
    seeds = seed_architectures(space)
    (slow,) = [architecture for architecture, origin in seeds if origin == "seed"][:1]
    excess = SearchStudy._excess
    monkeypatch.setattr(
        SearchStudy, "_excess", lambda study, a: 1.0 if a == slow else excess(study, a)
    )
    coordinator.study.enqueue(seeds)
    seen = []
    while (proposal := coordinator.start("a")) is not None:
        seen.append(proposal.architecture)
        coordinator.end("a", evaluation(proposal.architecture), None)
    assert len(seen) == len(set(seen)) == 26
    assert slow not in seen
    assert coordinator.finished == "every architecture of the space has been evaluated"


@pytest.mark.parametrize("sampler", ["latency-aware", "tpe"])
def test_a_base_outside_the_space_teaches_the_sampler_nothing(
    sampler: SamplerName, tmp_path: Path
) -> None:
    """A site without `regular`: the base is no point of the space, and must not stand for another one."""
    file = tmp_path / "outside.yaml"
    file.write_text(
        "schema_version: 1\nbase: resnet20-cifar\nsites:\n"
        '  - {match: "*", choices: [regular]}\n'
        '  - {match: layer1.0.conv1, choices: ["ghost:0.5", "spconv:0.5"]}\n'
    )
    outside = load_space(file)
    study = SearchStudy(tmp_path / "study.db", outside, "top1", seed=0, sampler=sampler)
    study.enqueue([(Architecture(), "base")])
    seen = []
    while (proposal := study.propose()) is not None:
        seen.append(proposal.architecture)
        known = {"scores": {"top1": 0.5}, "latency_ms": 1.0, "latency_ratio": 0.5}
        record = TrialRecord(proposal.trial, "complete", proposal.architecture, **known)
        study.record(proposal, record)
    trials = optuna.load_study(study_name="spnas", storage=f"sqlite:///{study.path}").trials
    assert (trials[0].params, trials[0].values) == ({}, None)
    assert [record.state for record in study.records] == ["complete"] * 3
    study.close()
    assert seen[0].is_base
    assert {a["layer1.0.conv1"].op for a in seen[1:]} == {"ghost", "spconv"}


def test_failures_in_a_row_end_the_search(make_coordinator: Make, space: SearchSpace) -> None:
    coordinator = make_coordinator()
    coordinator.study.enqueue(seed_architectures(space)[:1])  # the base, whose failure ends it, too
    for failures in (4, 5):  # a success between starts the count anew
        run_one(coordinator)
        for _ in range(failures):
            assert coordinator.finished is None
            assert coordinator.start("a") is not None
            coordinator.end("a", None, "RuntimeError: broken")
    assert coordinator.start("a") is None
    assert coordinator.finished == "5 trials in a row failed, the last one: RuntimeError: broken"


def test_seeds_queued_twice_are_there_once(make_coordinator: Make, space: SearchSpace) -> None:
    """As after a kill between queueing the seeds and noting that the base is prepared."""
    coordinator = make_coordinator(rungs=())
    for _ in range(2):
        coordinator.study.enqueue(seed_architectures(space))
    evaluated = 0
    while coordinator.start("a") is not None:
        proposal = coordinator.running["a"].proposal
        coordinator.end("a", evaluation(proposal.architecture), None)
        evaluated += 1
    assert evaluated == 27


def test_the_rule_knows_what_ended_also_after_resuming(make_coordinator: Make) -> None:
    first = make_coordinator(rule=PromiseRule((1,)))
    for _ in range(8):
        proposal = first.start("a")
        assert proposal is not None
        replaced = len(proposal.architecture)
        known = evaluation(proposal.architecture, 1, accuracy=0.5 - 0.1 * replaced)
        assert first.goes_on("a", known)  # as all of them lie on one line of accuracy and latency
        first.end("a", evaluation(proposal.architecture), None)
    first.study.close()
    for coordinator in (first, make_coordinator(rule=PromiseRule((1,)))):
        rule = coordinator.rule
        assert rule.goes_on(100, 1, 0.9, 10.0)
        assert not rule.goes_on(101, 1, 0.0, 10.0)


def test_the_workers_own_seconds_tell_what_still_fits(make_coordinator: Make, clock: Any) -> None:
    """A worker's first trial also waits ten seconds for imports; the next ones do not."""
    coordinator = make_coordinator(budget="20s", slots=1)
    proposal = coordinator.start("a")
    assert proposal is not None
    clock.now += 13
    coordinator.end("a", evaluation(proposal.architecture), None, seconds=3.0)
    assert coordinator.start("b") is not None


def test_a_number_of_trials_is_counted_and_its_time_estimated(
    make_coordinator: Make, clock: Any
) -> None:
    coordinator = make_coordinator(budget="10trials", slots=2)
    assert coordinator.seconds_to_go() is None
    for _ in range(4):
        proposal = coordinator.start("a")
        assert proposal is not None
        clock.now += 30
        coordinator.end("a", evaluation(proposal.architecture), None)
    assert coordinator.spent() == "4 of 10 trials"
    assert coordinator.seconds_to_go() == 6 * 30 / 2


def test_a_folder_with_characters_of_urls_keeps_its_study(
    tmp_path: Path, space: SearchSpace
) -> None:
    folder = tmp_path / "a?b=1 %20#c"
    folder.mkdir()
    SearchStudy(folder / "study.db", space, "top1", seed=0).close()
    assert (folder / "study.db").stat().st_size > 0


@pytest.mark.parametrize("sampler", ["latency-aware", "tpe"])
def test_what_is_foretold_to_be_too_slow_is_not_proposed(
    tmp_path: Path, space: SearchSpace, sampler: SamplerName
) -> None:
    """Of 27 architectures the 19 with a ghost are slow; once that is learnt, they come after the 8 others."""
    study = SearchStudy(tmp_path / "study.db", space, "top1", seed=3, sampler=sampler)
    study.limits = Limits(latency_ratio=1.4)
    ghosts = []
    for _ in range(20):
        proposal = study.propose()
        if proposal is None:
            break
        slow = sum(choice.op == "ghost" for choice in proposal.architecture.values())
        ghosts.append(slow)
        known = TrialRecord(
            trial=proposal.trial,
            state="infeasible" if slow else "complete",
            architecture=proposal.architecture,
            origin="sampler",
            scores={} if slow else {"top1": 0.5},
            latency_ms=1.0 + slow,
            latency_ratio=0.9 + slow,
        )
        study.record(proposal, known)
    foretold = [
        trial
        for trial in optuna.load_study(study_name="spnas", storage=f"sqlite:///{study.path}").trials
        if "foretold" in trial.user_attrs
    ]
    assert bool(foretold) == (sampler == "tpe")  # the other one does not ask for such
    assert all(trial.constraints["latency"] > 0 for trial in foretold)
    study.close()
    fast = [i for i, slow in enumerate(ghosts) if not slow]
    assert len(fast) == 8
    assert fast[-1] <= 18  # by chance one time in fifty


def test_trials_csv_is_appended_and_holds_what_the_study_does_in_every_sitting(
    make_coordinator: Make,
) -> None:
    first = make_coordinator()
    run_one(first), run_one(first)
    table = first.run.trials
    begun = table.stat().st_ino
    run_one(first)
    assert table.stat().st_ino == begun  # the same file, longer
    table.write_text(
        table.read_text()[:-20]
    )  # as if the machine had crashed in the middle of a row
    second = make_coordinator()
    run_one(second)
    run_one(second)
    assert read_records(table) == second.records
    assert len(second.records) == 5
