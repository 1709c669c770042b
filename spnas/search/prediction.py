"""Latency foretold from what was measured: what proposals are made with, and what spares too slow ones a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

from spnas.architecture import Architecture
from spnas.runs import TrialRecord
from spnas.search.categories import Categories, Floats
from spnas.spaces import SearchSpace

_FEWEST = 12  # measured architectures below which nothing is foretold
_LOWEST = 0.01  # ratio; a line may reach below 0


class LatencyModel:
    """Ridge regression of the latency ratio on the choices, one column a variable and choice.

    Latency of a network is nearly the sum over its layers, so a linear model is the right shape; with few measurements
    the ridge holds it near their mean. It only ever spares measurements: what is trained has been measured.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._categories = Categories(
            {name: [str(choice) for choice in choices] for name, choices in space.variables.items()}
        )
        self._model = Ridge(alpha=1.0)
        self._measured = 0
        self._spread = 0.0

    def learn(self, records: Sequence[TrialRecord]) -> None:
        """Fit to every trial with a measured ratio, whatever became of it."""
        measured = [record for record in records if record.latency_ratio is not None]
        if len(measured) < _FEWEST or len(measured) == self._measured:
            return
        self._measured = len(measured)
        rows = np.concatenate([self._row(record.architecture) for record in measured])
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
        return float(self._model.predict(self._row(architecture))[0]), self._spread

    @property
    def error(self) -> float | None:
        """Standard error of what is foretold; None while too little was measured."""
        return self._spread if self._measured else None

    def ratios(self, many: Sequence[Mapping[str, str]]) -> Floats:
        """Foretell the ratios of many architectures of the space, given by the text of each variable's choice.

        Returns:
            Ratios above 0; all alike while too little was measured.
        """
        if not self._measured:
            return np.ones(len(many))
        hot = self._categories.one_hot(self._categories.encode(many))
        return np.asarray(np.maximum(self._model.predict(hot), _LOWEST))

    def _row(self, architecture: Architecture) -> Floats:
        """Give the one-hot row, with zeros for choices of the base that the space does not offer."""
        columns = [
            float(architecture[name] == choice)
            for name, choices in self._space.variables.items()
            for choice in choices
        ]
        return np.array([columns])
