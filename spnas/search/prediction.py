"""Latency foretold from what was measured, so that no worker is spent on candidates that are surely too slow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

from spnas.architecture import Architecture
from spnas.runs import TrialRecord
from spnas.spaces import SearchSpace

_FEWEST = 12  # measured architectures below which nothing is foretold


class LatencyModel:
    """Ridge regression of the latency ratio on the choices, one column a variable and choice.

    Latency of a network is nearly the sum over its layers, so a linear model is the right shape; with few measurements
    the ridge holds it near their mean. It only ever spares measurements: what is trained has been measured.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._columns = {
            key: column
            for column, key in enumerate(
                (name, choice) for name, choices in space.variables.items() for choice in choices
            )
        }
        self._names = tuple(space.variables)
        self._model = Ridge(alpha=1.0)
        self._measured = 0
        self._spread = 0.0

    def learn(self, records: Sequence[TrialRecord]) -> None:
        """Fit to every trial with a measured ratio, whatever became of it."""
        measured = [record for record in records if record.latency_ratio is not None]
        if len(measured) < _FEWEST or len(measured) == self._measured:
            return
        self._measured = len(measured)
        rows = np.stack([self._row(record.architecture) for record in measured])
        ratios = np.array([record.latency_ratio for record in measured], dtype=float)
        self._spread = float(np.std(ratios - cross_val_predict(self._model, rows, ratios, cv=5)))
        self._model.fit(rows, ratios)

    def predict(self, architecture: Architecture) -> tuple[float, float] | None:
        """Foretell the latency over the base's, with the standard error of such predictions by cross-validation.

        Returns:
            None while too little was measured.
        """
        if not self._measured:
            return None
        return float(self._model.predict(self._row(architecture)[None])[0]), self._spread

    def _row(self, architecture: Architecture) -> NDArray[np.float64]:
        row = np.zeros(len(self._columns))
        for name in self._names:  # the base may have choices that the space does not offer
            column = self._columns.get((name, architecture[name]))
            if column is not None:
                row[column] = 1.0
        return row
