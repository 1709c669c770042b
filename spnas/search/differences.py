"""Which differences between the models of a confirmed front are more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from scipy.special import stdtrit

from spnas.runs import TrialRecord, front_records
from spnas.runs.summary import find_base
from spnas.search.confirmation import half_width


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


def differences(confirmed: Sequence[TrialRecord], metric: str) -> list[Difference]:
    """Compare each model of the front with the next faster one, and each with the base network.

    The spreads of two accuracies are taken for independent. As both are scored on the same images, they are less than
    that: a difference that is more than noise here is so all the more. How much the seeds make of them is known from as
    many trainings as there are beside the first of each model, so that quantiles are those of Student's t.

    Args:
        confirmed: What `confirmed_records` gives.
        metric: The accuracy.
    """
    front, base = front_records(confirmed, metric), find_base(confirmed)
    pairs = [(model, faster, False) for faster, model in pairwise(front)]
    if base is not None:
        pairs += [(model, base, True) for model in front if not model.architecture.is_base]
    freedom = sum((record.seeds or 1) - 1 for record in confirmed)
    # Without a second seed of any model nothing tells what another seed would change.
    factor = float(stdtrit(freedom, 0.975)) if freedom else None
    return [_difference(*pair, metric, factor) for pair in pairs]


def _difference(
    model: TrialRecord, other: TrialRecord, to_base: bool, metric: str, factor: float | None
) -> Difference:
    spreads = [record.scores.get(f"{metric}_std") for record in (model, other)]
    # The base's ratio is 1 by definition; its own interval is that of a measurement beside itself.
    widths = [0.0 if r.architecture.is_base else half_width(r) for r in (model, other)]
    spread, width = _root_of_squares(spreads), _root_of_squares(widths)
    return Difference(
        trial=model.trial,
        other=other.trial,
        to_base=to_base,
        accuracy=model.scores[metric] - other.scores[metric],
        accuracy_noise=None if spread is None or factor is None else factor * spread,
        latency_ratio=(model.latency_ratio or math.nan) - (other.latency_ratio or math.nan),
        latency_noise=width,
    )


def _root_of_squares(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.hypot(*known) if len(known) == len(values) else None
