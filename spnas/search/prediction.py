"""Latency foretold from what was measured, so that no worker is spent on candidates that are surely too slow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from spnas.architecture import Architecture
from spnas.latency import LatencyTable
from spnas.runs import TrialRecord
from spnas.spaces import SearchSpace

_FOLDS = 5
# Measured architectures below which nothing is foretold: of a table, and without one.
_FEWEST_CORRECTED, _FEWEST = 8, 12


class _Regression(Protocol):
    """Learns latency ratios from measured architectures."""

    def fit(self, architectures: Sequence[Architecture], ratios: Sequence[float]) -> _Regression:
        """Learn; what was known before stays as it was."""

    def ratios(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        """Foretell latencies over the base's."""

    def uncertainty(self, architecture: Architecture) -> float:
        """Say how large an error to expect, against other architectures'."""


class LatencyModel:
    """Foretells a candidate's latency ratio from the trials measured so far and the latency table, if there is one.

    It only ever spares measurements: what is trained has been measured.

    Args:
        space: The search space.
        table: What each choice takes at each site.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable | None = None) -> None:
        self._fewest = _FEWEST_CORRECTED if table else _FEWEST
        self._model: _Regression = _CorrectedTable(table) if table else _OneHot(space)
        self._measured = 0
        self._spread = 0.0

    def learn(self, records: Sequence[TrialRecord]) -> None:
        """Fit to every trial with a measured ratio, whatever became of it."""
        measured = {
            record.architecture: record.latency_ratio
            for record in records
            if record.latency_ratio is not None
        }
        if len(measured) < self._fewest or len(measured) == self._measured:
            return
        self._measured = len(measured)
        architectures, ratios = list(measured), list(measured.values())
        errors = np.empty(len(ratios))
        for known, rest in KFold(_FOLDS, shuffle=True, random_state=0).split(architectures):
            fitted = self._model.fit([architectures[i] for i in known], [ratios[i] for i in known])
            others = [architectures[i] for i in rest]
            scale = [self._model.uncertainty(architecture) for architecture in others]
            errors[rest] = ([ratios[i] for i in rest] - fitted.ratios(others)) / scale
        self._spread = float(np.sqrt(np.mean(errors**2)))
        self._model = self._model.fit(architectures, ratios)

    def predict(self, architecture: Architecture) -> tuple[float, float] | None:
        """Foretell the latency over the base's, with the standard error of such predictions by cross-validation.

        Returns:
            None while too little was measured.
        """
        if not self._measured:
            return None
        spread = self._spread * self._model.uncertainty(architecture)
        return float(self._model.ratios([architecture])[0]), spread


class _CorrectedTable:
    """The latency table's sums, corrected by what was measured end to end."""

    def __init__(self, table: LatencyTable) -> None:
        self._table = table

    def fit(self, architectures: Sequence[Architecture], ratios: Sequence[float]) -> _Regression:
        return _CorrectedTable(self._table.fitted(architectures, ratios))

    def ratios(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        return self._table.ratios(architectures)

    def uncertainty(self, architecture: Architecture) -> float:
        """The base is known; each replaced site adds an error of its own."""
        return math.sqrt(max(1, len(architecture)))


class _OneHot:
    """Ridge regression on the choices, one column a variable and choice.

    Latency of a network is nearly the sum over its layers, so a linear model is the right shape; with few measurements
    the ridge holds it near their mean.
    """

    def __init__(self, space: SearchSpace, model: Ridge | None = None) -> None:
        self._space, self._model = space, model
        self._columns = {
            key: column
            for column, key in enumerate(
                (name, choice) for name, choices in space.variables.items() for choice in choices
            )
        }

    def fit(self, architectures: Sequence[Architecture], ratios: Sequence[float]) -> _Regression:
        return _OneHot(self._space, Ridge(alpha=1.0).fit(self._rows(architectures), ratios))

    def ratios(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        assert self._model is not None, "fit comes first"
        foretold: NDArray[np.float64] = self._model.predict(self._rows(architectures))
        return foretold

    def uncertainty(self, architecture: Architecture) -> float:
        return 1.0

    def _rows(self, architectures: Sequence[Architecture]) -> NDArray[np.float64]:
        rows = np.zeros((len(architectures), len(self._columns)))
        for row, architecture in zip(rows, architectures, strict=True):
            for name in self._space.variables:
                # The base may have choices that the space does not offer.
                column = self._columns.get((name, architecture[name]))
                if column is not None:
                    row[column] = 1.0
        return rows
