"""Which trials are evaluated again at the end of a search, and what both evaluations say together; pure of Ray.

The front of many noisy trials is made of the lucky ones. So its models are trained again, longer and with other seeds,
and measured again: only what they show then counts for their accuracy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from spnas.names import counted
from spnas.runs import TrialRecord, front_records
from spnas.runs.summary import find_base
from spnas.search.scheduler import ranking

NORMAL = 1.96  # standard deviations to each side that hold 95% of a normal distribution

Reevaluations = Mapping[int, Sequence[TrialRecord]]
"""The re-evaluations of each trial, by its number."""


def by_trial(again: Iterable[TrialRecord]) -> dict[int, list[TrialRecord]]:
    """Group re-evaluations by the trial that they repeat."""
    found: dict[int, list[TrialRecord]] = {}
    for record in again:
        found.setdefault(record.trial, []).append(record)
    return found


# -- who is evaluated again --------------------------------------------------------------------


def line_up(trials: Sequence[TrialRecord], metric: str) -> list[tuple[TrialRecord, int]]:
    """List what to evaluate again, the most telling first.

    The base network and the front come first, with two seeds, since one tells nothing of what another would change;
    then what is near the front; a third seed last. The front is in an order whose every beginning is spread over it.

    Args:
        trials: A run's trials.
        metric: The accuracy.

    Returns:
        Trials with the number of the seed, from 1; empty where the front has no model beside the base network.
    """
    base = find_base(trials)
    front = [record for record in front_order(trials, metric) if not record.architecture.is_base]
    near = near_front(trials, metric)
    if base is None or metric not in base.scores or not front + near:
        return []
    first = [base, *front]
    rounds = [(first, 1), (first, 2), (near, 1), (near, 2), (first, 3), (near, 3)]
    return [(record, seed) for records, seed in rounds for record in records]


def front_order(trials: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Sort the trials' front by an epsilon-net: the most accurate first, then always what is farthest from the rest."""
    front = front_records(trials, metric)
    points = [(record.scores[metric], record.latency_ms or math.inf) for record in front]
    return [front[i] for i in ranking(points)] if front else []


def near_front(trials: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Find the complete trials that an accuracy higher by one standard deviation (`_std`) would put on the front.

    Returns:
        The nearest first, counted in their standard deviations; the base network is not among them.
    """
    front = front_records(trials, metric)
    there = {record.trial for record in front}
    found: list[tuple[float, TrialRecord]] = []
    for record in trials:
        std = record.scores.get(f"{metric}_std")
        known = record.state == "complete" and record.trial not in there and std
        if not known or record.architecture.is_base:
            continue
        rivals = [r.scores[metric] for r in front if _latency(r) <= _latency(record)]
        behind = (max(rivals, default=-math.inf) - record.scores[metric]) / (std or math.inf)
        if behind < 1:
            found.append((behind, record))
    return [record for _, record in sorted(found, key=lambda pair: pair[0])]


def _latency(record: TrialRecord) -> float:
    return math.inf if record.latency_ms is None else record.latency_ms


# -- what comes of it --------------------------------------------------------------------------


def confirmed_records(
    trials: Sequence[TrialRecord], again: Iterable[TrialRecord], metric: str
) -> list[TrialRecord]:
    """Give the trials that were evaluated again, each with what all its evaluations say together (`pool`).

    Args:
        trials: A run's trials.
        again: Its re-evaluations, failed ones included; those of one trial have its number.
        metric: The accuracy.

    Returns:
        Empty where the front is not confirmed: the base network, or more than half of the front's models, have not
        been evaluated again, or none of them is one that the limits allow.
    """
    found = by_trial(again)
    told = {trial for trial, records in found.items() if _telling(records)}
    base, front = find_base(trials), front_records(trials, metric)
    models = {record.trial for record in front if not record.architecture.is_base}
    if base is None or base.trial not in told or not told - {base.trial}:
        return []
    if 2 * len(models & found.keys()) < len(models):
        return []
    spread = {name: seed_variance(found, name) for name in _figures(base)}
    pooled = [pool(r, found[r.trial], spread) for r in trials if r.trial in told]
    return pooled if front_records(pooled, metric) else []


def _telling(again: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Leave out what failed."""
    return [record for record in again if record.scores]


def _figures(record: TrialRecord) -> list[str]:
    return [name for name in record.scores if not name.endswith("_std")]


def seed_variance(again: Reevaluations, name: str) -> float | None:
    """Estimate the variance that another seed makes in a figure, the same for all models; None with one seed each."""
    freedom = seed_freedom(again)
    if not freedom:
        return None
    groups = [[record.scores[name] for record in _telling(records)] for records in again.values()]
    squares = sum(statistics.variance(g) * (len(g) - 1) for g in groups if len(g) > 1)
    return squares / freedom


def seed_freedom(again: Reevaluations) -> int:
    """Count the degrees of freedom of that estimate: the trainings beside the first of each model."""
    return sum(max(0, len(_telling(records)) - 1) for records in again.values())


def pool(
    trial: TrialRecord, again: Sequence[TrialRecord], variance: Mapping[str, float | None]
) -> TrialRecord:
    """Put a trial and its re-evaluations together.

    Figures are the means over the re-evaluations, without the trial's own, which its luck selected. The variance of
    such a mean is that of other validation images, which are the same for all seeds, plus that of the seeds over their
    number. Latency is the mean of all measurements, the trial's too (`pool_ratios`).

    Args:
        trial: The trial.
        again: Its re-evaluations; at least one has scores.
        variance: The variance that the seed makes in each figure, None where it is not known.
    """
    telling = _telling(again)
    scores: dict[str, float] = {}
    for name in _figures(telling[0]):
        scores[name] = statistics.fmean(record.scores[name] for record in telling)
        images = [r.scores[f"{name}_std"] for r in telling if f"{name}_std" in r.scores]
        if images:
            own = (variance.get(name) or 0.0) / len(telling)
            scores[f"{name}_std"] = math.sqrt(statistics.fmean(images) ** 2 + own)
    missed = [record for record in again if record.state == "infeasible"]
    judged = missed[0] if missed and trial.state == "complete" else trial
    return replace(
        pool_latency(trial, telling),
        state=judged.state,
        error=judged.error,
        epochs=telling[0].epochs,
        batch=telling[0].batch,
        scores=scores,
        seeds=len(telling),
        train_s=sum(record.train_s or 0.0 for record in telling),
        device_s=sum(record.device_s or 0.0 for record in again),
        started=telling[0].started,
        finished=telling[-1].finished,
    )


def pool_latency(trial: TrialRecord, again: Sequence[TrialRecord]) -> TrialRecord:
    """Give a trial the latency that all its measurements say; disturbed ones only where there is no other."""
    measured = [record for record in (trial, *again) if record.latency_ratio is not None]
    measured = [record for record in measured if not record.latency_warning] or measured
    if not measured or trial.latency_ms is None or trial.latency_ratio is None:
        return trial
    ratio, low, high = pool_ratios(measured)
    scale = trial.latency_ms / trial.latency_ratio
    spreads = [r.latency_std_ms for r in measured if r.latency_std_ms is not None]
    return replace(
        trial,
        latency_ms=ratio * scale,
        latency_std_ms=math.sqrt(statistics.fmean(s * s for s in spreads)) if spreads else None,
        latency_ratio=ratio,
        latency_ratio_low=low,
        latency_ratio_high=high,
        latency_warning=measured[0].latency_warning,
    )


def pool_ratios(measured: Sequence[TrialRecord]) -> tuple[float, float | None, float | None]:
    """Give the mean of measured ratios and its 95% interval.

    The measurements' intervals are taken for independent; where the ratios differ by more than these allow, the
    interval is widened by the Birge ratio, the root of chi-square over its degrees of freedom.

    Source: Birge, "The calculation of errors by the method of least squares", Physical Review 40, 207, 1932.
    """
    ratios = [record.latency_ratio or math.nan for record in measured]
    mean = statistics.fmean(ratios)
    widths = [half_width(record) for record in measured]
    known = [width for width in widths if width is not None and math.isfinite(width)]
    if len(known) < len(ratios):
        return mean, None, None
    width = math.hypot(*known) / len(ratios)
    if len(ratios) > 1 and all(known):
        chi2 = sum((NORMAL * (r - mean) / w) ** 2 for r, w in zip(ratios, known, strict=True))
        width *= max(1.0, math.sqrt(chi2 / (len(ratios) - 1)))
    return mean, mean - width, mean + width


def half_width(record: TrialRecord) -> float | None:
    """Give half the width of the 95% interval of a latency ratio."""
    if record.latency_ratio_low is None or record.latency_ratio_high is None:
        return None
    return (record.latency_ratio_high - record.latency_ratio_low) / 2


def describe(trials: Sequence[TrialRecord], again: Sequence[TrialRecord], metric: str) -> str:
    """Say in one line whether the front is confirmed, and by what."""
    models = {r.trial for r in front_records(trials, metric) if not r.architecture.is_base}
    found = by_trial(_telling(again))
    repeated = len(models & found.keys())
    told = f"{repeated} of the {len(models)} models of the trials' front evaluated again"
    pooled = confirmed_records(trials, again, metric)
    if not pooled:
        if not models:
            return "the front is the base network alone: there is nothing to confirm"
        return (
            f"the front is not confirmed (evaluated again: {repeated} of its {len(models)} models): accuracies are "
            "those of single trials, and some are luck"
        )
    near = sum(r.trial in found and not r.architecture.is_base for r in near_front(trials, metric))
    seeds = sorted(record.seeds or 0 for record in pooled)
    least = "" if seeds[0] == seeds[-1] else f"{seeds[0]} to "
    trainings = f"{least}{counted(seeds[-1], 'training')}"
    return (
        f"the front is confirmed: {told}, {near} near it, by {trainings} of "
        f"{counted(pooled[0].epochs, 'epoch')} each; it has {counted(len(front_records(pooled, metric)), 'model')}"
    )
