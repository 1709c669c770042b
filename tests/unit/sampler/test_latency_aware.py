"""The latency-aware sampler as any Optuna sampler: asked, told, resumed, run in parallel, and what it finds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from threadpoolctl import threadpool_info, threadpool_limits

from spnas import LatencyAwareSampler
from spnas.errors import InputError, SpaceExhaustedError
from spnas.runs import hypervolume

Params = dict[str, Any]

_COST = {"regular": 2.0, "ghost": 1.2, "spconv": 0.9}


class Problem:
    """Sites of three choices, an additive latency and an additive accuracy, all of it known."""

    def __init__(self, sites: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.space = {f"site{i}": CategoricalDistribution(list(_COST)) for i in range(sites)}
        self.size = {name: float(rng.lognormal()) for name in self.space}
        self.loss = {
            n: {"regular": 0.0, "ghost": rng.random(), "spconv": rng.random()} for n in self.space
        }

    def latency(self, many: list[Params]) -> list[float]:
        return [sum(_COST[c] * self.size[n] for n, c in params.items()) for params in many]

    def accuracy(self, params: Params) -> float:
        return 1.0 - sum(self.loss[name][choice] for name, choice in params.items())

    def values(self, params: Params) -> tuple[float, float]:
        return self.accuracy(params), self.latency([params])[0]

    def study(self, **options: Any) -> optuna.Study:
        sampler = LatencyAwareSampler(self.latency, seed=0, **options)
        return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def run(self, study: optuna.Study, trials: int) -> None:
        for _ in range(trials):
            trial = study.ask(self.space)
            study.tell(trial, self.values(trial.params))

    def share(self, study: optuna.Study, everything: list[Params]) -> float:
        """Hypervolume reached over the largest there is."""
        reference = (
            self.accuracy(dict.fromkeys(self.space, "spconv")) - 0.1,
            1.1 * sum(self.size.values()) * 2,
        )
        all_values = [self.values(params) for params in everything]
        found = [trial.values for trial in study.trials if trial.values]
        areas = [
            hypervolume(*map(list, zip(*v, strict=True)), reference) for v in (found, all_values)
        ]
        return areas[0] / areas[1]


def _texts(study: optuna.Study) -> list[str]:
    return [str(sorted(trial.params.items())) for trial in study.trials]


def _everything(space: dict[str, CategoricalDistribution]) -> list[Params]:
    grid = np.stack(np.meshgrid(*[np.arange(3)] * len(space)), -1).reshape(-1, len(space))
    return [dict(zip(space, [list(_COST)[i] for i in row], strict=True)) for row in grid]


def test_it_finds_most_of_the_front_where_random_search_does_not() -> None:
    problem = Problem(8)
    everything = _everything(problem.space)
    study = problem.study()
    problem.run(study, 40)
    sampler = optuna.samplers.RandomSampler(seed=0)
    blind = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    problem.run(blind, 40)
    assert problem.share(study, everything) > 0.97 > problem.share(blind, everything) + 0.05


def test_a_space_used_up_gives_every_architecture_once_and_then_an_error() -> None:
    problem = Problem(3)
    study = problem.study()
    problem.run(study, 27)
    assert len(set(_texts(study))) == 27
    with pytest.raises(SpaceExhaustedError, match="every architecture"):
        study.ask(problem.space)
    assert study.trials[-1].state == TrialState.FAIL  # not left as if it ran


def test_optimize_ends_when_the_space_is_used_up() -> None:
    problem = Problem(2)
    study = problem.study()

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = {n: trial.suggest_categorical(n, list(_COST)) for n in problem.space}
        return problem.values(params)

    study.optimize(objective, n_trials=30)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len({str(trial.params) for trial in complete}) == len(complete) == 9
    assert study.trials[-1].state == TrialState.PRUNED


def test_workers_at_the_same_time_get_different_architectures() -> None:
    problem = Problem(4)
    study = problem.study(space={name: list(_COST) for name in problem.space})
    problem.run(study, 10)
    under_way = [study.ask(problem.space) for _ in range(12)]
    for trial in under_way:
        study.tell(trial, problem.values(trial.params))
    problem.run(study, 10)
    assert len(set(_texts(study))) == len(study.trials) == 32


def test_threads_of_one_study_get_different_architectures() -> None:
    problem = Problem(5)
    study = problem.study(space={name: list(_COST) for name in problem.space})

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return problem.values({n: trial.suggest_categorical(n, list(_COST)) for n in problem.space})

    study.optimize(objective, n_trials=24, n_jobs=4)
    assert len(set(_texts(study))) == 24


def test_a_resumed_study_repeats_nothing_and_goes_on_from_what_it_knows(tmp_path: Path) -> None:
    problem = Problem(6)
    file = str(tmp_path / "study.log")
    for _ in range(2):
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(file)),
            study_name="s",
            directions=["maximize", "minimize"],
            sampler=LatencyAwareSampler(problem.latency, seed=1),
            load_if_exists=True,
        )
        problem.run(study, 12)
    assert len(set(_texts(study))) == 24


def test_what_failed_was_stopped_or_waits_is_not_proposed_either() -> None:
    problem = Problem(2)
    study = problem.study(space={name: list(_COST) for name in problem.space})
    study.enqueue_trial(dict.fromkeys(problem.space, "ghost"))
    waiting = dict.fromkeys(problem.space, "spconv")
    first = study.ask(problem.space)
    assert first.params == dict.fromkeys(problem.space, "ghost")
    study.tell(first, state=TrialState.FAIL)
    study.enqueue_trial(waiting)
    # Enqueued ones go first, so the next but one is the sampler's.
    assert study.ask(problem.space).params == waiting
    study.tell(study.ask(problem.space), state=TrialState.PRUNED)
    asked = [trial.params for trial in study.trials]
    assert len(asked) == len({str(sorted(params.items())) for params in asked})
    asked += [study.ask(problem.space).params for _ in range(6)]
    assert len({str(sorted(params.items())) for params in asked}) == 9
    with pytest.raises(SpaceExhaustedError):
        study.ask(problem.space)


def test_an_architecture_without_a_finite_latency_is_never_proposed() -> None:
    problem = Problem(3)

    def latency(many: list[Params]) -> list[float]:
        known = problem.latency(many)
        return [
            np.inf if p["site0"] == "regular" else late for p, late in zip(many, known, strict=True)
        ]

    sampler = LatencyAwareSampler(latency, seed=0, space={n: list(_COST) for n in problem.space})
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    problem.run(study, 18)
    assert all(trial.params["site0"] != "regular" for trial in study.trials)
    with pytest.raises(SpaceExhaustedError):
        study.ask(problem.space)


def _filled(
    problem: Problem, change: Callable[[int, Params, list[float]], dict[str, Any]]
) -> optuna.Study:
    """Make a study of 30 random trials, as `change` has them."""
    study = problem.study()
    rng = np.random.default_rng(5)
    for number in range(30):
        params = {name: str(rng.choice(list(_COST))) for name in problem.space}
        keywords = change(number, params, list(problem.values(params)))
        study.add_trial(create_trial(params=params, distributions=problem.space, **keywords))
    return study


def test_it_keeps_away_from_what_a_constraint_forbids() -> None:
    problem = Problem(6)

    def change(number: int, params: Params, values: list[float]) -> dict[str, Any]:
        spconvs = list(params.values()).count("spconv")
        return {"values": values, "constraints": {"most": float(spconvs - 2)}}

    study = _filled(problem, change)
    proposed = [study.ask(problem.space).params for _ in range(8)]
    spconvs = [list(params.values()).count("spconv") for params in proposed]
    free = _filled(problem, lambda number, params, values: {"values": values})
    unconstrained = [study.ask(problem.space).params for study in [free] * 8]
    assert np.mean(spconvs) <= 2
    assert np.mean([list(p.values()).count("spconv") for p in unconstrained]) > 2


def test_a_constraint_that_nothing_known_meets_is_approached() -> None:
    """Of 3^10 architectures two in ten thousand are small enough; what exceeds the limit least leads there."""
    problem = Problem(10)
    size = {"regular": 1.0, "ghost": 0.6, "spconv": 0.5}

    def excess(params: Params) -> float:
        return sum(size[choice] for choice in params.values()) - 5.25

    rng = np.random.default_rng(0)
    drawn = [{n: str(rng.choice(list(size))) for n in problem.space} for _ in range(2000)]
    assert np.mean([excess(params) <= 0 for params in drawn]) < 0.005
    study = problem.study()
    for _ in range(40):
        trial = study.ask(problem.space)
        trial.set_constraint("size", excess(trial.params))
        if excess(trial.params) <= 0:
            break
        study.tell(trial, state=TrialState.PRUNED)
    assert excess(trial.params) <= 0


def test_proposals_are_no_slower_than_is_of_use() -> None:
    problem = Problem(8)
    free = problem.study()
    problem.run(free, 30)
    latencies = [trial.values[1] for trial in free.trials]
    limit = float(np.quantile(latencies, 0.2))
    limited = problem.study(max_latency=limit)
    problem.run(limited, 30)
    assert max(trial.values[1] for trial in limited.trials[1:]) <= limit  # the first is drawn
    assert np.mean(np.array(latencies[8:]) > limit) > 0.5


def test_trials_that_were_stopped_at_a_rung_teach_what_they_had_reached() -> None:
    problem = Problem(6)

    def change(number: int, params: Params, values: list[float]) -> dict[str, Any]:
        attributes = {"rung:1": [0.1 + values[0] / 2, values[1]]}
        if number < 8:
            return {"values": values, "user_attrs": attributes}
        return {"state": TrialState.PRUNED, "user_attrs": attributes}

    taught = _filled(problem, change)
    untaught = _filled(problem, lambda *args: {**change(*args), "user_attrs": {}})
    everything = _everything(problem.space)
    for study in (taught, untaught):
        problem.run(study, 8)
    assert problem.share(taught, everything) > problem.share(untaught, everything)


def test_a_prior_is_used_from_the_first_trials_on() -> None:
    problem = Problem(20)
    prior = {n: {c: -loss for c, loss in table.items()} for n, table in problem.loss.items()}
    reached = {}
    for name, scores in {"prior": prior, "none": None}.items():
        study = problem.study(prior=scores, space={n: list(_COST) for n in problem.space})
        problem.run(study, 8)
        reached[name] = max(trial.values[0] for trial in study.trials)
    assert reached["prior"] == 1.0  # the base, which is the best by its scores
    assert reached["none"] < 0.6


def test_blas_keeps_to_one_thread_while_proposing() -> None:
    problem, threads = Problem(6), []

    def blas() -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    def latency(many: list[Params]) -> list[float]:
        threads.append(blas())
        return problem.latency(many)

    sampler = LatencyAwareSampler(latency, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    with threadpool_limits(limits=2, user_api="blas"):
        problem.run(study, 14)
        assert blas() == {2}
    assert threads
    assert all(used == {1} for used in threads)


def test_it_can_be_pickled() -> None:
    problem = Problem(3)
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = pickle.loads(pickle.dumps(LatencyAwareSampler(_constant, seed=0)))
    problem.run(study, 10)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    problem.run(study, 2)
    assert len(set(_texts(study))) == 12


def _constant(many: list[Params]) -> list[float]:
    return [1.0] * len(many)


_NAMES = CategoricalDistribution(["x", "y"])


@pytest.mark.parametrize(
    ("directions", "distribution", "value", "prior", "message"),
    [
        (["minimize", "minimize"], _NAMES, "x", None, "directions maximize .* got minimize"),
        (["maximize", "minimize"], FloatDistribution(0, 1), 0.5, None, "categorical.*a with Float"),
        (["maximize", "minimize"], _NAMES, "x", {"a": {"x": 1.0}}, "score for a: y, got nan"),
    ],
)
def test_a_study_it_cannot_serve_is_told(
    directions: list[str], distribution: Any, value: Any, prior: Any, message: str
) -> None:
    sampler = LatencyAwareSampler(_constant, prior)
    study = optuna.create_study(directions=directions, sampler=sampler)
    space = {"a": distribution}
    study.add_trial(create_trial(values=[0.5, 1.0], params={"a": value}, distributions=space))
    with pytest.raises(InputError, match=message):
        study.ask(space)


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        (lambda many: [0.0] * len(many), "above 0"),
        (lambda many: [1.0], "expected 1000 numbers"),
        (lambda many: [np.nan] * len(many), "not finite for any"),
    ],
)
def test_latencies_that_cannot_be_used_are_told(
    latency: Callable[[list[Params]], list[float]], message: str
) -> None:
    sampler = LatencyAwareSampler(latency, space={"a": ["x", "y"]})
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    with pytest.raises(InputError, match=message):
        study.ask({"a": CategoricalDistribution(["x", "y"])})
