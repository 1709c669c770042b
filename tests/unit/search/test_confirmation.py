from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import numpy as np
import pytest

from spnas.architecture import Architecture
from spnas.runs import TrialRecord, front_records
from spnas.search.confirmation import (
    confirmed_records,
    describe,
    front_order,
    line_up,
    near_front,
    pool,
    pool_latency,
    pool_ratios,
    seed_variance,
)
from spnas.search.differences import differences


def trial(number: int, ratio: float, top1: float, std: float | None = 0.01) -> TrialRecord:
    """A complete trial; number 0 is the base network."""
    spread = {} if std is None else {"top1_std": std}
    return TrialRecord(
        trial=number,
        state="complete",
        architecture=Architecture({f"layer{number}": "ghost:0.5"} if number else {}),
        epochs=2,
        scores={"top1": top1, **spread},
        latency_ms=8 * ratio,
        latency_std_ms=0.1,
        latency_ratio=ratio,
        latency_ratio_low=ratio - 0.01,
        latency_ratio_high=ratio + 0.01,
        device_s=5.0,
        train_s=4.0,
    )


def again(of: TrialRecord, top1: float, ratio: float | None = None) -> TrialRecord:
    """A re-evaluation; without a ratio latency was not measured."""
    record = replace(of, epochs=4, scores={"top1": top1, "top1_std": 0.01}, latency_warning=None)
    found = trial(of.trial, ratio, 0.0) if ratio else TrialRecord(0, "complete", of.architecture)
    names = ("ms", "std_ms", "ratio", "ratio_low", "ratio_high")
    return replace(record, **{f"latency_{n}": getattr(found, f"latency_{n}") for n in names})


@pytest.fixture
def trials() -> list[TrialRecord]:
    """The base, a front of trials 1, 2 and 0, trial 3 near it, trial 4 far below."""
    return [
        trial(0, 1.0, 0.90),
        trial(1, 0.5, 0.70),
        trial(2, 0.8, 0.85),
        trial(3, 0.9, 0.845),
        trial(4, 0.9, 0.60),
    ]


def test_base_and_front_come_first_and_what_is_near_after_their_second_seed(
    trials: list[TrialRecord],
) -> None:
    line = [(record.trial, seed) for record, seed in line_up(trials, "top1")]
    assert line[0] == (0, 1)
    assert set(line[:3]) == {(0, 1), (1, 1), (2, 1)}
    assert set(line[3:6]) == {(0, 2), (1, 2), (2, 2)}
    assert line[6:8] == [(3, 1), (3, 2)]
    assert len(line) == len(set(line)) == 3 * 4


def test_the_front_is_spread_out_from_its_most_accurate_model_on() -> None:
    trials = [trial(i, 0.5 + 0.1 * i, 0.5 + 0.1 * i) for i in range(5)]
    assert [record.trial for record in front_order(trials, "top1")][:3] == [4, 0, 2]


def test_nothing_is_lined_up_where_the_base_stands_alone(trials: list[TrialRecord]) -> None:
    assert line_up(trials[:1], "top1") == []
    assert line_up([], "top1") == []
    failed = TrialRecord(0, "failed", Architecture())
    assert line_up([failed, *trials[1:]], "top1") == []


def test_near_the_front_is_what_one_deviation_would_put_on_it() -> None:
    """By brute force: a trial is near if it is on the front once its own accuracy is raised."""
    rng = random.Random(3)
    for _ in range(30):
        trials = [trial(i, rng.random(), rng.random(), 0.3 * rng.random()) for i in range(1, 12)]
        on_front = {record.trial for record in front_records(trials, "top1")}
        expected = set()
        for record in trials:
            raised = replace(record, scores={"top1": sum(record.scores.values())})
            others = [raised if one is record else one for one in trials]
            if record.trial not in on_front and raised in front_records(others, "top1"):
                expected.add(record.trial)
        assert {record.trial for record in near_front(trials, "top1")} == expected


def test_without_spreads_nothing_is_near() -> None:
    trials = [trial(i, 0.5, 0.5, std=None) for i in range(1, 4)]
    assert near_front(trials, "top1") == []


def test_a_lucky_trial_does_not_survive(trials: list[TrialRecord]) -> None:
    """Trial 2 was lucky; trial 3, near the front, was not."""
    found = [
        *(again(trials[0], 0.9 + d) for d in (0.001, -0.001)),
        *(again(trials[1], 0.7 + d) for d in (0.001, -0.001)),
        *(again(trials[2], 0.69 + d) for d in (0.001, -0.001)),
        *(again(trials[3], 0.86 + d) for d in (0.001, -0.001)),
    ]
    confirmed = confirmed_records(trials, found, "top1")
    front = front_records(confirmed, "top1")
    assert [record.trial for record in front] == [1, 3, 0]
    assert [record.scores["top1"] for record in front] == pytest.approx([0.7, 0.86, 0.9])
    assert {record.seeds for record in confirmed} == {2}
    assert {record.epochs for record in confirmed} == {4}
    assert "confirmed: 2 of the 2 models" in describe(trials, found, "top1")
    assert "; it has 3 models" in describe(trials, found, "top1")


def test_with_less_than_half_of_the_front_or_without_the_base_it_is_not_confirmed() -> None:
    trials = [trial(0, 1.0, 0.9), *(trial(i, 0.5 + 0.1 * i, 0.5 + 0.1 * i) for i in range(1, 4))]
    base, others = again(trials[0], 0.9), [again(record, 0.5) for record in trials[1:]]
    assert confirmed_records(trials, [base, others[0]], "top1") == []
    assert confirmed_records(trials, [base], "top1") == []
    assert confirmed_records(trials, others, "top1") == []
    assert "not confirmed (evaluated again: 1 of its 3 models)" in describe(
        trials, [base, others[0]], "top1"
    )
    some = confirmed_records(trials, [base, *others[:2]], "top1")
    assert [record.trial for record in some] == [0, 1, 2]


def test_a_model_whose_trainings_fail_is_not_on_the_confirmed_front(
    trials: list[TrialRecord],
) -> None:
    failed = TrialRecord(1, "failed", trials[1].architecture, error="loss is nan")
    found = [again(trials[0], 0.9), failed, again(trials[2], 0.85)]
    confirmed = confirmed_records(trials, found, "top1")
    assert [record.trial for record in confirmed] == [0, 2]


def test_what_both_measurements_call_too_slow_is_infeasible(trials: list[TrialRecord]) -> None:
    slow = replace(again(trials[2], 0.95, 1.4), state="infeasible", error="latency 8.8 ms")
    confirmed = confirmed_records(
        trials, [again(trials[0], 0.9), slow, again(trials[1], 0.7)], "top1"
    )
    assert {r.trial: r.state for r in confirmed} == {0: "complete", 1: "complete", 2: "infeasible"}


def test_where_no_model_that_the_limits_allow_is_left_nothing_is_confirmed() -> None:
    """The trials' front is shown then, and not an empty one."""
    base = replace(trial(0, 1.0, 0.9), state="infeasible")
    models = [base, trial(1, 0.798, 0.8), trial(2, 0.799, 0.7)]
    slow = replace(again(models[1], 0.8, 0.81), state="infeasible", error="latency 6.5 ms")
    assert confirmed_records(models, [again(base, 0.9), slow], "top1") == []
    assert "not confirmed" in describe(models, [again(base, 0.9), slow], "top1")


def test_the_spread_is_that_of_the_images_and_of_the_mean_over_seeds() -> None:
    """Simulated: seeds and images each add an error; the mean over seeds has the spread that is stated."""
    rng = np.random.default_rng(0)
    errors, stated = [], []
    for _ in range(300):
        images = rng.normal(0, 0.02)
        base = trial(0, 1.0, 0.5)
        found = {0: [again(base, 0.5 + images + rng.normal(0, 0.03)) for _ in range(3)]}
        for record in found[0]:
            record.scores["top1_std"] = 0.02
        pooled = pool(base, found[0], {"top1": seed_variance(found, "top1")})
        errors.append(pooled.scores["top1"] - 0.5)
        stated.append(pooled.scores["top1_std"] ** 2)
    assert math.sqrt(statistics.fmean(stated)) == pytest.approx(np.std(errors), rel=0.1)


def test_the_variance_of_seeds_is_pooled_over_models(trials: list[TrialRecord]) -> None:
    found = {
        1: [again(trials[1], value) for value in (0.5, 0.7)],
        2: [again(trials[2], value) for value in (0.1, 0.2, 0.3)],
        3: [again(trials[3], 0.9)],
    }
    assert seed_variance(found, "top1") == pytest.approx((0.02 + 0.02) / 3)
    assert seed_variance({3: found[3]}, "top1") is None


def test_latency_is_the_mean_of_both_measurements_with_a_narrower_interval() -> None:
    first = trial(1, 0.80, 0.7)
    pooled = pool_latency(first, [again(first, 0.7, 0.804), again(first, 0.7)])
    assert pooled.latency_ratio == pytest.approx(0.802)
    assert pooled.latency_ms == pytest.approx(8 * 0.802)
    half = 0.01 / math.sqrt(2)
    assert pooled.latency_ratio_low == pytest.approx(0.802 - half)
    assert pooled.latency_ratio_high == pytest.approx(0.802 + half)


def test_measurements_that_contradict_each_other_widen_the_interval() -> None:
    mean, low, high = pool_ratios([trial(1, 0.80, 0.7), trial(1, 0.90, 0.7)])
    assert mean == pytest.approx(0.85)
    assert low is not None
    assert high is not None
    # Two values 0.1 apart: the standard error of their mean is half of that.
    assert (high - low) / 2 == pytest.approx(1.96 * 0.05)


def test_a_disturbed_measurement_gives_way_to_an_undisturbed_one() -> None:
    first = replace(trial(1, 0.80, 0.7), latency_warning="throttled")
    pooled = pool_latency(first, [again(first, 0.7, 0.9)])
    assert pooled.latency_ratio == pytest.approx(0.9)


def test_an_unknown_interval_stays_unknown() -> None:
    first = replace(trial(1, 0.80, 0.7), latency_ratio_low=None, latency_ratio_high=None)
    assert pool_ratios([first, trial(1, 0.82, 0.7)]) == (pytest.approx(0.81), None, None)


def test_differences_to_the_next_faster_model_and_to_the_base() -> None:
    models = [trial(0, 1.0, 0.90), trial(1, 0.5, 0.70), trial(2, 0.51, 0.89, std=0.02)]
    twice = [again(model, model.scores["top1"]) for model in models for _ in range(2)]
    found = {(d.trial, d.other): d for d in differences(models, twice, "top1")}
    assert set(found) == {(2, 1), (0, 2), (1, 0), (2, 0)}
    step = found[2, 1]
    assert step.accuracy == pytest.approx(0.19)
    assert step.accuracy_noise == pytest.approx(
        1.96 * math.hypot(0.01, 0.02)
    )  # seeds change nothing
    assert step.latency_noise == pytest.approx(0.01 * math.sqrt(2))
    assert (step.accuracy_is_real, step.latency_is_real) == (True, False)
    to_base = found[2, 0]
    assert to_base.latency_noise == pytest.approx(0.01)
    assert (to_base.accuracy_is_real, to_base.latency_is_real) == (False, True)
    spreadless = [trial(0, 1.0, 0.9, std=None), trial(1, 0.5, 0.7)]
    once = twice[::2]  # nothing tells what a seed changes
    for records, evaluations in ((spreadless, twice), (models, once)):
        unknown = differences(records, evaluations, "top1")[0]
        assert unknown.accuracy_noise is None
        assert not unknown.accuracy_is_real


def test_of_equal_models_few_are_called_different_however_few_the_seeds() -> None:
    """Simulated: two models with two seeds each, base and one of the front; images and seeds make as large an error."""
    rng = np.random.default_rng(0)
    called = []
    for _ in range(2000):
        records, evaluations = [], []
        for number, ratio in ((0, 1.0), (1, 0.5)):
            images = rng.normal(0, 0.01)
            found = [
                again(trial(number, ratio, 0.0), 0.8 + images + rng.normal(0, 0.01)) for _ in "ab"
            ]
            evaluations += found
            records.append(trial(number, ratio, 0.5))
        pooled = confirmed_records(records, evaluations, "top1")
        called += [
            d.accuracy_is_real for d in differences(pooled, evaluations, "top1") if d.to_base
        ]
    assert len(called) > 1500
    assert 0.01 < np.mean(called) < 0.06  # 1.96 deviations: 0.08
