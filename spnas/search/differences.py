"""Which differences between the models of a confirmed front are more than noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from scipy.special import stdtrit

from spnas.runs import TrialRecord, front_records
from spnas.runs.summary import find_base
from spnas.search.confirmation import (
    NORMAL,
    Reevaluations,
    by_trial,
    half_width,
    seed_freedom,
    seed_variance,
)


@dataclass(frozen=True)
class Difference:
    """How two models differ, and what chance alone would make of it, 95 times in 100.

    Attributes:
        trial: The model.
        other: The one it is compared with: the next faster one of the front, or the base network.
        to_base: Whether that is the base network.
        accuracy: The model's less the other's.
        accuracy_noise: What a difference must exceed to be more than noise; None where it is not known.
        latency_ratio: Likewise.
        latency_noise: Likewise.
    """

    trial: int
    other: int
    to_base: bool
    accuracy: float
    accuracy_noise: float | None
    latency_ratio: float
    latency_noise: float | None

    @property
    def accuracy_is_real(self) -> bool:
        """Whether the accuracies differ by more than noise."""
        return self.accuracy_noise is not None and abs(self.accuracy) > self.accuracy_noise

    @property
    def latency_is_real(self) -> bool:
        """Whether the latencies differ by more than noise."""
        return self.latency_noise is not None and abs(self.latency_ratio) > self.latency_noise

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values."""
        real = {"accuracy_is_real": self.accuracy_is_real, "latency_is_real": self.latency_is_real}
        return asdict(self) | real


def differences(
    confirmed: Sequence[TrialRecord], again: Iterable[TrialRecord], metric: str
) -> list[Difference]:
    """Compare each model of the front with the next faster one, and each with the base network.

    The spreads of two accuracies are taken for independent. As both are scored on the same images, they are less than
    that: a difference that is more than noise here is so all the more. The part of the seeds is an estimate from few
    trainings, so that quantiles are those of Student's t, its degrees of freedom by Satterthwaite, "An approximate
    distribution of estimates of variance components", Biometrics Bulletin 2, 110, 1946.

    Args:
        confirmed: What `confirmed_records` gives.
        again: The re-evaluations that it was given.
        metric: The accuracy.
    """
    front, base = front_records(confirmed, metric), find_base(confirmed)
    seeds = _Seeds.of(by_trial(again), metric)
    pairs = [(model, faster, False) for faster, model in pairwise(front)]
    if base is not None:
        pairs += [(model, base, True) for model in front if not model.architecture.is_base]
    return [_difference(*pair, metric, seeds) for pair in pairs]


@dataclass(frozen=True)
class _Seeds:
    """What another seed makes of an accuracy: its variance, None with one seed of each model, known from so much."""

    variance: float | None
    freedom: int

    @classmethod
    def of(cls, again: Reevaluations, metric: str) -> _Seeds:
        return cls(seed_variance(again, metric), seed_freedom(again))

    def noise(self, spread: float | None, pair: Sequence[TrialRecord]) -> float | None:
        """Give what a difference of spread `spread` must exceed; None where that is not known."""
        if spread is None or self.variance is None:
            return None
        part = sum(self.variance / (record.seeds or 1) for record in pair)
        if part == 0:
            return NORMAL * spread
        freedom = self.freedom * (spread**2 / part) ** 2
        return float(stdtrit(freedom, 0.975)) * spread


def _difference(
    model: TrialRecord, other: TrialRecord, to_base: bool, metric: str, seeds: _Seeds
) -> Difference:
    spreads = [record.scores.get(f"{metric}_std") for record in (model, other)]
    # The base's ratio is 1 by definition; its own interval is that of a measurement beside itself.
    widths = [0.0 if r.architecture.is_base else half_width(r) for r in (model, other)]
    return Difference(
        trial=model.trial,
        other=other.trial,
        to_base=to_base,
        accuracy=model.scores[metric] - other.scores[metric],
        accuracy_noise=seeds.noise(_root_of_squares(spreads), (model, other)),
        latency_ratio=(model.latency_ratio or math.nan) - (other.latency_ratio or math.nan),
        latency_noise=_root_of_squares(widths),
    )


def _root_of_squares(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.hypot(*known) if len(known) == len(values) else None
