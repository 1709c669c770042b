"""An Optuna sampler for architectures whose latency is known before they are trained."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NoReturn

import numpy as np
import optuna
from numpy.typing import ArrayLike
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from threadpoolctl import ThreadpoolController

from spnas.errors import InputError, SpaceExhaustedError
from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.evidence import gather
from spnas.sampler.proposer import Proposer

Params = Mapping[str, Any]
Prior = Mapping[str, Mapping[Any, float]]


class LatencyAwareSampler(optuna.samplers.BaseSampler):
    """Proposes the architecture that is expected to enlarge the Pareto front most, given that latency is known.

    For a study of two objectives, accuracy to maximize and latency to minimize, whose parameters are all categorical
    and always the same. Only accuracy is uncertain: a Gaussian process models it, and the expected hypervolume
    improvement of a candidate is exact. What was evaluated, failed, or is under way is never proposed again.

    Trials under way count as if they had the accuracy that is expected of them, so that parallel workers get different
    architectures. Constraints (`trial.set_constraint`) are modelled too. A trial that was stopped early, state PRUNED,
    teaches what it had reached: keep its accuracy at each rung in user attributes `rung:<epochs>`, those of complete
    trials too. Choices that are numbers are taken for the more alike the nearer they are, and a choice that several
    parameters have under the same name is expected to act alike at each.

    Args:
        latency: Gives the latencies of a list of architectures, each a dictionary of parameters, in ms; not finite for
            one that must not be proposed. It is asked anew for some thousand architectures at every proposal, so that
            it may be an estimate that improves.
        prior: What is known of the choices' accuracies before any trial: a score for each choice of a parameter, the
            higher the better, on any one scale. How far to trust it is learned. Parameters may be missing.
        seed: Of the random numbers.
        max_latency: Slower architectures are of no use, ms.
        space: The choices of each parameter, where known. Without it trials are drawn at random, and may be equal,
            until a first one has ended.

    Attributes:
        max_latency: As given; may be changed between proposals.

    Raises:
        InputError: When proposing: the study's directions, the parameters, the latencies or the prior cannot be used.
        SpaceExhaustedError: When asked for another architecture after the last one. `Study.optimize` ends instead.

    Examples:
        >>> table = {"regular": 2.0, "ghost:0.5": 1.2}
        >>> sampler = LatencyAwareSampler(lambda many: [table[p["site"]] for p in many], seed=0)
        >>> study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        >>> space = {"site": CategoricalDistribution(list(table))}
        >>> for _ in range(2):
        ...     trial = study.ask(space)
        ...     _ = study.tell(trial, [0.5, table[trial.params["site"]]])
        >>> sorted(trial.params["site"] for trial in study.trials)
        ['ghost:0.5', 'regular']
    """

    def __init__(
        self,
        latency: Callable[[list[dict[str, Any]]], ArrayLike],
        prior: Prior | None = None,
        seed: int | None = None,
        *,
        max_latency: float = math.inf,
        space: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.max_latency = max_latency
        self._latency = latency
        self._prior = prior
        self._seed = seed
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._lock = threading.RLock()
        self._categories: Categories | None = None
        self._proposer: Proposer | None = None
        self._proposed: dict[int, Codes] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle with a lock of its own."""
        vars(self).update(state, _lock=threading.RLock())

    def reseed_rng(self) -> None:
        """Draw other random numbers from here on."""
        self._rng = np.random.default_rng()
        self._proposer = None

    # -- Optuna's side ---------------------------------------------------------------------------

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Give the parameters: those named at first, or those of the trials that ended well.

        One under way or failed may have been asked for some of its parameters only.
        """
        if self._space is not None:
            return {name: CategoricalDistribution(given) for name, given in self._space.items()}
        space: dict[str, BaseDistribution] = {}
        for earlier in study._get_trials(deepcopy=False, use_cache=True):
            if earlier.state in (TrialState.COMPLETE, TrialState.PRUNED):
                space |= earlier.distributions
        return space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose an architecture."""
        if not search_space:
            return {}
        _check_directions(study)
        with self._lock, _one_thread():
            proposer, categories = self._prepare(search_space)
            trials = [
                earlier
                for earlier in study._get_trials(deepcopy=False, use_cache=True)
                if earlier.number != trial.number
            ]
            evidence = gather(
                trials, categories, self._ask_latency, self._proposed, self.max_latency
            )
            row = proposer.propose(evidence)
            if row is not None:
                self._proposed[trial.number] = row
                return categories.decode(row[None])[0]
        return _end(study, trial)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a parameter that no trial had before."""
        _check_directions(study)
        choices = _choices(param_name, param_distribution)
        with self._lock:
            return choices[int(self._rng.integers(len(choices)))]

    # -- from trials to arrays ---------------------------------------------------------------------

    def _prepare(self, space: Mapping[str, BaseDistribution]) -> tuple[Proposer, Categories]:
        """Make the proposer, anew where the parameters have changed."""
        choices = {name: _choices(name, space[name]) for name in sorted(space)}
        if self._categories is None or self._categories.choices != choices:
            self._categories, self._proposer = Categories(choices), None
            self._proposed = {}
        if self._proposer is None:
            scores = None if self._prior is None else _scores(self._prior, self._categories)
            self._proposer = Proposer(self._categories, self._ask_latency, scores, self._rng)
        return self._proposer, self._categories

    def _ask_latency(self, rows: Codes) -> Floats:
        assert self._categories is not None
        if not len(rows):
            return np.zeros(0)
        given = np.asarray(self._latency(self._categories.decode(rows)), dtype=float)
        if given.shape != (len(rows),):
            raise InputError(
                f"latency: expected {len(rows)} numbers for {len(rows)} architectures, got shape {given.shape}"
            )
        return given


def _one_thread() -> AbstractContextManager[Any]:
    """Give a context in which BLAS keeps to one thread.

    On matrices as small as these several are no faster: they wait for each other, and take cores from trials.
    """
    limited: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _check_directions(study: optuna.Study) -> None:
    wanted = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    if study.directions != wanted:
        got = ", ".join(direction.name.lower() for direction in study.directions)
        raise InputError(
            f"LatencyAwareSampler: expected a study with directions maximize (accuracy), minimize (latency), got {got}"
        )


def _choices(name: str, distribution: BaseDistribution) -> tuple[Any, ...]:
    if not isinstance(distribution, CategoricalDistribution):
        raise InputError(
            f"LatencyAwareSampler: expected categorical parameters, got {name} with {distribution}"
        )
    return distribution.choices


def _scores(prior: Prior, categories: Categories) -> Floats:
    """Give each choice of each parameter its score, 0 those of a parameter without any."""
    scores, problems = [], []
    for name, choices in categories.choices.items():
        given = prior.get(name, dict.fromkeys(choices, 0.0))
        for choice in choices:
            score = given.get(choice, math.nan)
            if not math.isfinite(score):
                problems.append(f"prior: expected a finite score for {name}: {choice}, got {score}")
            scores.append(float(score))
    if problems:
        raise InputError(problems)
    return np.array(scores)


def _end(study: optuna.Study, trial: FrozenTrial) -> NoReturn:
    """End a study whose space is used up, leaving no trial that looks as if it ran."""
    try:
        study.stop()
    except RuntimeError:  # asked outside Study.optimize
        study.tell(trial.number, state=TrialState.FAIL)
        raise SpaceExhaustedError("every architecture of the space has been proposed") from None
    raise optuna.TrialPruned("every architecture of the space has been proposed")
