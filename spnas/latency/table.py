"""The latency table: what each choice at each site takes, and the latency of whole networks foretold from it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.latency.forms import input_shapes
from spnas.latency.layers import LayerTimer, LayerTimes
from spnas.networks.sites import find_slots
from spnas.operators import build_operator, refusal

_RIDGE = np.logspace(-3, 3, 13)


@dataclass(frozen=True)
class LatencyTable:
    """Times of every choice at every site of a network, each layer on its own.

    The latency of an architecture is foretold as the base's and, for each site, what its choice takes less what the
    plain convolution takes there: `ratio = 1 + sum(t_choice - t_plain) / t_base`. Layers in a network meet other caches
    and other layouts than alone; `fitted` corrects for that from networks that were measured whole.

    Attributes:
        base_s: Seconds of a forward of the whole base network.
        times: What each site's choices take; the plain convolution under `regular`.
        correction: Factors of what is added to the sum above: of the sum itself, under `sum`; of the number of sites
            that hold an operator, under its name; of the share of the base's time that they take, under `time of` it.
    """

    base_s: float
    times: Mapping[str, Mapping[Choice, LayerTimes]]
    correction: Mapping[str, float] | None = None

    def added(self, site: str, choice: Choice) -> float:
        """Give the seconds that a choice at a site adds to the base network, below zero where it is faster.

        Raises:
            KeyError: The table does not hold the choice at this site.
        """
        times = self.times[site][choice]
        return 0.0 if choice == REGULAR else times.seconds - times.plain_s

    def share(self, site: str, choice: Choice) -> float:
        """Give what a choice at a site adds to the latency ratio, the correction included.

        Raises:
            KeyError: The table does not hold the choice at this site.
        """
        if choice == REGULAR:
            return 0.0
        return float(self._site_features[site, choice] @ self._weights())

    def ratio(self, architecture: Architecture) -> float:
        """Foretell an architecture's latency over the base's."""
        return 1.0 + float(self._features([architecture])[0] @ self._weights())

    def ratios(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Foretell the ratios of many architectures."""
        foretold: NDArray[np.float64] = 1.0 + self._features(architectures) @ self._weights()
        return foretold

    def fitted(
        self, architectures: Sequence[Architecture], ratios: Sequence[float]
    ) -> LatencyTable:
        """Correct the table by architectures that were measured whole.

        A ridge regression on the additive prediction's errors, its strength by leave-one-out cross-validation; with few
        measurements it stays near the plain sum.

        Args:
            architectures: Of this network; at least two.
            ratios: Their measured latencies over the base's.
        """
        features = self._features(architectures)
        errors = np.asarray(ratios, dtype=float) - 1.0 - features[:, 0]
        # Columns come on one scale, so that the ridge holds all back alike; the ratio's sum is of order one already.
        scale = np.abs(features).max(axis=0)
        scale[scale == 0] = 1.0
        model = RidgeCV(alphas=_RIDGE, fit_intercept=False).fit(features / scale, errors)
        correction = dict(zip(self._columns, (model.coef_ / scale).tolist(), strict=True))
        return replace(self, correction=correction)

    def to_json(self) -> dict[str, Any]:
        """Give the measurements, less the correction, as JSON holds them; milliseconds."""
        sites = {
            site: {
                str(choice): {
                    "plain_ms": 1e3 * layer.plain_s,
                    "forms_ms": {form: 1e3 * seconds for form, seconds in layer.forms_s.items()},
                }
                for choice, layer in choices.items()
            }
            for site, choices in self.times.items()
        }
        return {"base_ms": 1e3 * self.base_s, "sites": sites}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LatencyTable:
        """Read what `to_json` gave."""
        times = {
            site: {
                Choice.parse(choice): LayerTimes(
                    1e-3 * layer["plain_ms"],
                    {form: 1e-3 * ms for form, ms in layer["forms_ms"].items()},
                )
                for choice, layer in choices.items()
            }
            for site, choices in value["sites"].items()
        }
        return cls(1e-3 * value["base_ms"], times)

    @cached_property
    def _columns(self) -> list[str]:
        ops = {choice.op for choices in self.times.values() for choice in choices}
        names = sorted(ops - {REGULAR.op})
        return ["sum", *names, *(f"time of {name}" for name in names)]

    def _weights(self) -> NDArray[np.float64]:
        correction = self.correction or {}
        return np.array([(name == "sum") + correction.get(name, 0.0) for name in self._columns])

    def _features(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Give a row an architecture: the features of its sites, added up."""
        rows = np.zeros((len(architectures), len(self._columns)))
        for row, architecture in zip(rows, architectures, strict=True):
            for pair in architecture.items():
                row += self._site_features[pair]
        return rows

    @cached_property
    def _site_features(self) -> dict[tuple[str, Choice], NDArray[np.float64]]:
        """What the correction is a line in: what a choice adds, that it is there, and the time that it takes."""
        columns = self._columns
        features = {}
        for site, choices in self.times.items():
            for choice, layer in choices.items():
                if choice == REGULAR:
                    continue
                row = features[site, choice] = np.zeros(len(columns))
                row[0] = self.added(site, choice) / self.base_s
                row[columns.index(choice.op)] = 1
                row[columns.index(f"time of {choice.op}")] = layer.seconds / self.base_s
        return features


def build_table(
    model: nn.Module,
    choices: Mapping[str, Sequence[Choice]],
    example: Tensor,
    timer: LayerTimer,
    *,
    base_s: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LatencyTable:
    """Measure every choice at every site; equal layers are measured once, and those in the timer's cache not at all.

    Args:
        model: The base network, its sites regular; left as it is.
        choices: The choices of each site, by the site's name.
        example: An input `(N, C, H, W)`.
        timer: Times layers on the device.
        base_s: Seconds of a forward of the deployed base network in the same runtime.
        progress: Called with the sites done and their number; what it raises ends the measuring.
    """
    slots = {slot.site.name: slot for slot in find_slots(model)}
    shapes = input_shapes(model, example, lambda name, _: name in choices)
    times: dict[str, dict[Choice, LayerTimes]] = {}
    for done, (name, offered) in enumerate(choices.items(), 1):
        slot = slots[name]
        host = replace(slot.host, act=copy.deepcopy(slot.host.act))
        times[name] = {
            choice: timer.time(build_operator(choice, slot.site, host), shapes[name])
            for choice in dict.fromkeys((REGULAR, *offered))
            if refusal(choice, slot.site) is None
        }
        progress(done, len(choices))
    return LatencyTable(base_s, times)
