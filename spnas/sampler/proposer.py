"""Proposes the architecture that is expected to enlarge the front most, latency being known; pure of Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from spnas.runs.pareto import pareto_indices
from spnas.sampler.candidates import Candidates, LatencyOfRows
from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.improvement import expected_hypervolume_improvement
from spnas.sampler.kernel import Kernel
from spnas.sampler.surrogate import Observations, Surrogate

_DESIGN = 8  # architectures that are laid down before any is modelled
_FEWEST = 2  # observations to model
_MOST_MODELLED = 500
_GUESSES = 8  # of the effects, for each draw of the hyperparameters
_ROUNDS, _CLIMBERS = 2, 5
_WHOLE = 2000  # architectures up to which a space is scored whole
_COUNTABLE = 1_000_000  # up to which one is searched for the last that is left
_CHUNK = 10_000
_BATCHES = 10  # for one that is of use
_SCORED = 1000  # architectures of which the most probably feasible one is taken

_Pool = Callable[[Codes, Floats], Codes]


@dataclass(frozen=True)
class Evidence:
    """What is known when an architecture is asked for.

    Attributes:
        observed: Accuracies, of infeasible and early-stopped trials too.
        on_front: Whether each may be on the front, (N,).
        pending: Architectures under way, (M, parameters).
        taken: Bytes of the rows that are not to be proposed.
        violations: By constraint, what feasible architectures have at or below 0; as observations.
        max_latency: Slower ones are of no use, ms.
    """

    observed: Observations
    on_front: NDArray[np.bool_]
    pending: Codes
    taken: set[bytes]
    violations: dict[str, Observations] = field(default_factory=dict)
    max_latency: float = math.inf


class Proposer:
    """Scores candidates by expected hypervolume improvement.

    Args:
        categories: The parameters.
        latency: Gives the latencies of rows, ms; rows where it is not finite are never proposed.
        prior: A score for each choice of each parameter, (width,), or None.
        rng: Source of randomness.

    Raises:
        InputError: The latencies cannot be used.
    """

    def __init__(
        self,
        categories: Categories,
        latency: LatencyOfRows,
        prior: Floats | None,
        rng: np.random.Generator,
    ) -> None:
        self._categories, self._latency, self._rng = categories, latency, rng
        self._prior = prior
        self._candidates = Candidates(categories, latency, rng)
        self._surrogate = Surrogate(rng)
        self._constraints: dict[str, Surrogate] = {}
        self._design = self._candidates.design(_DESIGN, prior)

    def propose(self, evidence: Evidence) -> Codes | None:
        """Give an architecture that is not taken, (parameters,); None where there is none left."""
        place = len(evidence.taken)
        if place >= _DESIGN and len(evidence.observed) >= _FEWEST:
            self._candidates.refresh()
            best = self._best(evidence)
        else:
            best, latency = self._free(self._design[place : place + 1], evidence.taken)
            best = best[latency <= evidence.max_latency]
        return best[0] if len(best) else self._anything(evidence)

    def _free(self, rows: Codes, taken: set[bytes]) -> tuple[Codes, Floats]:
        """Leave out what is taken, twice there, or out of the question; give latencies too."""
        rows = np.unique(rows, axis=0)
        rows = rows[np.array([row.tobytes() not in taken for row in rows], dtype=bool)]
        latency = self._latency(rows) if len(rows) else np.zeros(0)
        finite = np.isfinite(latency)
        return rows[finite], latency[finite]

    def _anything(self, evidence: Evidence) -> Codes | None:
        """Give any architecture that is free and of use, else the fastest; None where there is, or is found, none."""
        categories = self._categories
        batches: Iterator[Codes] = (categories.random(self._rng, 1000) for _ in range(100))
        if categories.size <= _COUNTABLE:
            size = int(categories.size)
            starts = range(0, size, _CHUNK)
            batches = (categories.part(start, min(start + _CHUNK, size)) for start in starts)
        fastest, fastest_latency = None, math.inf
        for tried, batch in enumerate(batches):
            free, latency = self._free(batch, evidence.taken)
            useful = latency <= evidence.max_latency
            if useful.any():
                return self._likely_feasible(free[useful], latency[useful], evidence)
            if len(free) and latency.min() < fastest_latency:
                fastest, fastest_latency = free[latency.argmin()], latency.min()
            if fastest is not None and tried >= _BATCHES:
                break
        return fastest

    def _likely_feasible(self, rows: Codes, latency: Floats, evidence: Evidence) -> Codes:
        """Choose the row that most probably meets all constraints, at random where nothing is known of any."""
        known = {n: data for n, data in evidence.violations.items() if len(data) >= _FEWEST}
        if not known:
            return np.asarray(self._rng.choice(rows))
        rows, first = rows[:_SCORED], latency[:_SCORED]
        self._learn_constraints(known)
        excess = np.zeros(len(rows))
        for surrogate in self._constraints.values():
            mean, deviation = surrogate.predict(rows, first)
            excess += (mean / deviation).mean(0)
        return np.asarray(rows[excess.argmin()])

    def _learn_constraints(self, violations: dict[str, Observations]) -> None:
        log_latency = np.log(self._candidates.sample_latency)
        for name, data in violations.items():
            self._constraints.setdefault(name, Surrogate(self._rng))
            few = self._rng.permutation(len(data))[:_MOST_MODELLED]
            self._constraints[name].learn(Kernel(self._categories, log_latency), data.take(few))

    def _best(self, evidence: Evidence) -> Codes:
        """Give the free candidate with the greatest expected improvement, (1, parameters) or none."""
        known, on_front = self._model(evidence)
        smoothed = self._surrogate.smoothed()
        front = smoothed[on_front], known.latency[on_front]
        reference = self._reference(*front, evidence.max_latency)
        members = known.rows[on_front][pareto_indices(*map(list, front))]
        taken = set(evidence.taken)
        rows, scores, late = known.rows[:0], np.zeros(0), np.zeros(0)
        for candidates in self._pools(members):
            fresh, latency = self._free(candidates(rows, scores), taken)
            if len(fresh):
                taken |= {row.tobytes() for row in fresh}
                gains = self._gains(fresh, latency, front, reference)
                rows, scores = np.concatenate([rows, fresh]), np.concatenate([scores, gains])
                late = np.concatenate([late, latency])
        return rows[np.lexsort((late, -scores))[:1]]  # the fastest where nothing is expected of any

    def _pools(self, members: Codes) -> Iterator[_Pool]:
        """Give functions of the rows and scores so far, each of which gives more rows."""
        categories = self._categories
        if categories.size <= _WHOLE:
            yield lambda rows, scores: categories.part(0, int(categories.size))
            return
        guesses = self._candidates.guesses(*self._surrogate.draw_effects(_GUESSES))
        around = self._candidates.around(members) if len(members) else guesses
        yield lambda rows, scores: np.concatenate([guesses, around])
        for _ in range(_ROUNDS):
            yield lambda rows, scores: categories.neighbours(rows[np.argsort(-scores)[:_CLIMBERS]])

    def _model(self, evidence: Evidence) -> tuple[Observations, Codes]:
        """Condition the surrogates; give what the front is made of, pending architectures with what is expected.

        Returns:
            The observations, and which of them may be on the front.
        """
        observed, on_front = _most_telling(evidence, self._rng)
        log_latency = np.log(self._candidates.sample_latency)
        self._surrogate.learn(Kernel(self._categories, log_latency, self._prior), observed)
        if len(evidence.pending):
            latency = self._latency(evidence.pending)
            means, _ = self._surrogate.predict(evidence.pending, latency)
            nothing = np.zeros(len(latency))
            pending = Observations(evidence.pending, latency, means.mean(0), nothing)
            on_front = np.concatenate([on_front, len(observed) + np.arange(len(latency))])
            observed = observed.join(pending)
            self._surrogate.imagine(observed)
        self._learn_constraints(evidence.violations)
        return observed, on_front

    def _reference(
        self, accuracy: Floats, latency: Floats, max_latency: float
    ) -> tuple[float, float]:
        """Give the worst accuracy and latency that count.

        The accuracy that nine in ten random architectures exceed; the latency that one in ten exceeds, or a tenth more
        than that of the most accurate architecture known, but no more than is of use.
        """
        sample, sample_latency = self._candidates.sample, self._candidates.sample_latency
        means, _ = self._surrogate.predict(sample[:200], sample_latency[:200])
        slowest = float(np.quantile(sample_latency, 0.9))
        if len(accuracy):
            slowest = max(slowest, 1.1 * float(latency[accuracy.argmax()]))
        return float(np.quantile(means.mean(0), 0.1)), min(slowest, max_latency)

    def _gains(
        self,
        rows: Codes,
        latency: Floats,
        front: tuple[Floats, Floats],
        reference: tuple[float, float],
    ) -> Floats:
        """Compute expected improvements, times the probability that all constraints are met."""
        draws = zip(*self._surrogate.predict(rows, latency), strict=True)
        gains = [
            expected_hypervolume_improvement(mean, deviation, latency, front, reference)
            for mean, deviation in draws
        ]
        feasible = np.ones(len(rows))
        for surrogate in self._constraints.values():
            mean, deviation = surrogate.predict(rows, latency)
            feasible *= ndtr(-mean / deviation).mean(0)
        return np.asarray(np.mean(gains, axis=0) * feasible)


def _most_telling(evidence: Evidence, rng: np.random.Generator) -> tuple[Observations, Codes]:
    """Take all observations where they are few, else those nearest to the front and some of the others.

    Accuracies far below the others, of networks that do not work, are drawn nearer: how bad they are tells nothing of
    the good ones.
    """
    observed, on_front = evidence.observed, evidence.on_front
    low, high = np.quantile(observed.accuracy, [0.5, 0.9])
    unit = max(float(high - low), 1e-12)
    if high == low:  # many alike, as on few validation images
        unit = max(float(observed.accuracy.std()), 1e-12)
    floor = low - 2 * unit
    below = np.maximum(floor - observed.accuracy, 0.0)
    drawn = np.where(below > 0, floor - unit * np.log1p(below / unit), observed.accuracy)
    observed = replace(observed, accuracy=drawn)
    if len(observed) <= _MOST_MODELLED:
        return observed, np.flatnonzero(on_front)
    chosen = pareto_indices(list(np.where(on_front, drawn, np.nan)), list(observed.latency))
    heights = np.concatenate([[drawn.min()], drawn[chosen]])
    gap = heights[np.searchsorted(observed.latency[chosen], observed.latency, side="right")] - drawn
    order = np.argsort(gap, kind="stable")
    near, far = np.split(order, [3 * _MOST_MODELLED // 4])
    others = rng.choice(far, _MOST_MODELLED - len(near), replace=False)
    kept = np.sort(np.concatenate([near, others]))
    return observed.take(kept), np.flatnonzero(on_front[kept])
