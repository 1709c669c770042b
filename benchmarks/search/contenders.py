"""The samplers compared, each behind `ask` and `tell`. Those whose packages are not installed are left out."""

from __future__ import annotations

import importlib.util
import itertools
import random
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from problems import Params, Problem
from sklearn.linear_model import Ridge

from spnas import LatencyAwareSampler
from spnas.runs.pareto import pareto_indices
from spnas.sampler.categories import Categories

_FEWEST = 12  # evaluations before latency is foretold, as in a search without a latency table

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Contender(Protocol):
    """A sampler at work on a problem."""

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        """Propose an architecture, or take the one given; the first item is what `tell` wants back."""

    def tell(self, key: Any, params: Params, accuracy: float, latency: float) -> None:
        """Take the result; an accuracy that is not a number says that there is no such network."""


class OptunaContender:
    """Any Optuna sampler."""

    def __init__(self, problem: Problem, sampler: optuna.samplers.BaseSampler) -> None:
        self._space = {n: CategoricalDistribution(c) for n, c in problem.choices.items()}
        self.study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        if given is not None:
            self.study.enqueue_trial(dict(given))
        trial = self.study.ask(self._space)
        return trial, trial.params

    def tell(self, key: Any, params: Params, accuracy: float, latency: float) -> None:
        if np.isfinite(accuracy):
            self.study.tell(key, [accuracy, latency])
        else:
            self.study.tell(key, state=TrialState.FAIL)


class LatencyAware(OptunaContender):
    """This project's sampler: it knows latency, and the prior where the problem has one; not the reference point."""

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, LatencyAwareSampler(problem.latency, problem.prior, seed))


class LatencyLearned(LatencyAware):
    """The same as a search of spnas uses it: latency is a line fitted to what was evaluated, after a search's seeds."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._categories = Categories(problem.choices)
        self._rows: list[Params] = []
        self._latencies: list[float] = []
        sampler = LatencyAwareSampler(self._foretell, problem.prior, seed)
        OptunaContender.__init__(self, problem, sampler)
        self._seeds = list(_seeds(problem)) if problem.name.startswith("sites39") else []

    def _foretell(self, many: list[dict[str, Any]]) -> np.ndarray:
        if len(self._rows) < _FEWEST:
            return np.ones(len(many))
        hot = self._categories.one_hot
        model = Ridge(alpha=1.0).fit(hot(self._categories.encode(self._rows)), self._latencies)
        lowest = 0.01 * max(self._latencies)
        return np.maximum(model.predict(hot(self._categories.encode(many))), lowest)

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        if given is None and self._seeds:
            given = self._seeds.pop(0)
        return super().ask(given)

    def tell(self, key: Any, params: Params, accuracy: float, latency: float) -> None:
        if np.isfinite(accuracy):
            self._rows.append(params)
            self._latencies.append(latency)
        super().tell(key, params, accuracy, latency)


class TpeAndOffspring(OptunaContender):
    """In turn TPE and a child of the front by uniform crossover, two sites drawn anew: what spnas 0.1 did.

    Where the space has `regular`, it begins as a search does: the base, the uniform architectures and mixtures.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, tpe(seed))
        self._choices, self._rng = problem.choices, random.Random(seed)
        self._turn = itertools.count()
        self._seeds = list(_seeds(problem)) if problem.name.startswith("sites39") else []

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        if given is None and self._seeds:
            given = self._seeds.pop(0)
        elif given is None and next(self._turn) % 2 == 0 and self.study.best_trials:
            given = self._child([trial.params for trial in self.study.best_trials])
        return super().ask(given)

    def _child(self, front: list[dict[str, Any]]) -> Params:
        pair = self._rng.choice(front), self._rng.choice(front)
        child = {name: self._rng.choice(pair)[name] for name in self._choices}
        drawn = [n for n in child if self._rng.random() < 2 / len(child)]
        for name in drawn or [self._rng.choice(list(child))]:
            child[name] = self._rng.choice(self._choices[name])
        return child


def _seeds(problem: Problem) -> list[Params]:
    """Give the base, every operator at all sites, and at the quarter, half and three quarters that save most time."""
    base = {name: given[0] for name, given in problem.choices.items()}
    seeds = [base]
    for share in (1.0, 0.25, 0.5, 0.75):
        for operator in next(c for c in problem.choices.values() if len(c) == 6)[1:]:
            one = [{**base, n: operator} for n, c in problem.choices.items() if operator in c]
            order = np.argsort(problem.latency(one))[: round(share * len(one))]
            names = [name for name, c in problem.choices.items() if operator in c]
            seeds.append({**base, **{names[i]: operator for i in order}})
    return seeds


class SyneTuneEvolution:
    """Syne Tune's multi-objective regularized evolution, population 20."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from syne_tune.config_space import choice
        from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

        self._searcher = MultiObjectiveRegularizedEvolution(
            {name: choice(given) for name, given in problem.choices.items()},
            population_size=20,
            random_seed=seed,
        )
        self._trials = itertools.count()

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        return next(self._trials), given or self._searcher.suggest()

    def tell(self, key: Any, params: Params, accuracy: float, latency: float) -> None:
        if np.isfinite(accuracy):  # it minimizes
            self._searcher.on_trial_complete(key, dict(params), [-accuracy, latency])


class BoTorchNEHVI:
    """BoTorch's qLogNEHVI on one-hot choices, maximized over random architectures and mutations of the front.

    It is told the reference point that the hypervolume is measured with.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self._problem, self._rng = problem, random.Random(seed)
        self._told: list[tuple[Params, float, float]] = []
        self._keys: set[tuple[object, ...]] = set()

    def ask(self, given: Params | None = None) -> tuple[Any, Params]:
        if given is None:
            given = self._problem.draw(self._rng) if len(self._told) < 10 else self._maximize()
        return None, given

    def tell(self, key: Any, params: Params, accuracy: float, latency: float) -> None:
        fresh = tuple(params.values()) not in self._keys
        self._keys.add(tuple(params.values()))
        if fresh and np.isfinite(accuracy):
            self._told.append((params, accuracy, latency))

    def _pool(self) -> list[Params]:
        told, accuracies, latencies = zip(*self._told, strict=True)
        front = [told[i] for i in pareto_indices(accuracies, latencies)]
        choices = self._problem.choices
        pool = []
        for i in range(1000):
            params = {n: self._rng.choice(c) for n, c in choices.items()}
            if i % 2:
                drawn = set(self._rng.sample(list(choices), self._rng.choice([1, 1, 2, 3])))
                parent = self._rng.choice(front)
                params = {n: params[n] if n in drawn else parent[n] for n in choices}
            if tuple(params.values()) not in self._keys:
                pool.append(params)
        return pool

    def _encode(self, many: list[Params]) -> Any:
        import torch

        columns = [(n, c) for n, given in self._problem.choices.items() for c in given]
        return torch.tensor([[float(p[n] == c) for n, c in columns] for p in many]).double()

    def _maximize(self) -> Params:
        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        told, accuracies, latencies = zip(*self._told, strict=True)
        x = self._encode(list(told))
        y = torch.tensor([accuracies, latencies]).double().T * torch.tensor([1.0, -1.0])
        mean, spread = y.mean(0), y.std(0)
        worst = torch.tensor(self._problem.reference) * torch.tensor([1.0, -1.0])
        models = [SingleTaskGP(x, ((y - mean) / spread)[:, i : i + 1]) for i in range(2)]
        for model in models:
            # Without a limit the fit takes 800 steps, for seconds.
            fit_gpytorch_mll(
                ExactMarginalLogLikelihood(model.likelihood, model),
                optimizer_kwargs={"options": {"maxiter": 50}},
            )
        improvement = qLogNoisyExpectedHypervolumeImprovement(
            ModelListGP(*models),
            ref_point=((worst - mean) / spread).tolist(),
            X_baseline=x,
            sampler=_quasi_random_sampler(),
            prune_baseline=True,
        )
        pool = self._pool()
        with torch.no_grad():
            values = improvement(self._encode(pool).unsqueeze(1))
        return pool[int(values.argmax())]


def _quasi_random_sampler() -> Any:
    import torch
    from botorch.sampling.normal import SobolQMCNormalSampler

    return SobolQMCNormalSampler(torch.Size([64]))


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)


def _optuna(make: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[..., Contender]:
    return lambda problem, seed: OptunaContender(problem, make(seed))


CONTENDERS: dict[str, Callable[[Problem, int], Contender]] = {
    "random": _optuna(lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "nsga2": _optuna(lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed)),
    "tpe": _optuna(tpe),
    "gp": _optuna(lambda seed: optuna.samplers.GPSampler(seed=seed)),
    "tpe+offspring": TpeAndOffspring,
    "spnas": LatencyAware,
    "spnas-learned": LatencyLearned,
}
"""Contenders by name; functions of problem and seed."""

if importlib.util.find_spec("syne_tune"):
    CONTENDERS["syne-tune-rea"] = SyneTuneEvolution
if importlib.util.find_spec("botorch"):
    CONTENDERS["botorch-nehvi"] = BoTorchNEHVI
