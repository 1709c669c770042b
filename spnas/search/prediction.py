"""Latency foretold from what was measured: proposals are made with it, and what is too slow is spared a worker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from spnas.architecture import Architecture
from spnas.latency import LatencyTable
from spnas.runs import TrialRecord
from spnas.sampler.categories import Categories, Floats
from spnas.spaces import SearchSpace

_FOLDS = 5
# Measured architectures below which nothing is foretold: with a table to correct, and without one.
_FEWEST_CORRECTED, _FEWEST = 8, 12
_GROWN = 1.02  # times as many measured trials as it was fitted to make it worth fitting again
_LOWEST = 0.01  # ratio; a line may reach below 0


@dataclass(frozen=True)
class _Line:
    """A latency ratio as a sum: a start, and a share for each choice of each variable, `(width,)`."""

    start: float
    shares: Floats

    def __call__(self, hot: Floats) -> Floats:
        """Foretell the ratios of one-hot rows `(N, width)`."""
        return np.asarray(self.start + hot @ self.shares)


class LatencyModel:
    """Foretells a candidate's latency ratio from the trials measured so far and the latency table, if there is one.

    A network's latency is nearly the sum over its layers: the table's sum, corrected by what was measured end to end;
    without a table a ridge regression on the choices, which with few measurements stays near their mean. It only ever
    spares measurements: what is trained has been measured.

    Args:
        space: The search space.
        table: What each choice takes at each site.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable | None = None) -> None:
        self._space, self._table = space, table
        self._categories = Categories(
            {name: [str(choice) for choice in choices] for name, choices in space.variables.items()}
        )
        pairs = [(name, c) for name, choices in space.variables.items() for c in choices]
        self._columns = {pair: column for column, pair in enumerate(pairs)}
        self._line = _Line(1.0, np.zeros(self._categories.width))
        if table is not None:
            self._line = self._line_of(table)
        self._measured = 0
        self._spread = 0.0

    def learn(self, records: Sequence[TrialRecord]) -> None:
        """Fit to every trial with a measured ratio, whatever became of it; where few are new, all stays as it is."""
        measured = [record for record in records if record.latency_ratio is not None]
        fewest = _FEWEST if self._table is None else _FEWEST_CORRECTED
        if len(measured) < max(fewest, _GROWN * self._measured):
            return
        self._measured = len(measured)
        architectures = [record.architecture for record in measured]
        ratios = np.array([record.latency_ratio for record in measured], dtype=float)
        hot = self._hot(architectures)
        errors = np.empty(len(ratios))
        for known, rest in KFold(_FOLDS, shuffle=True, random_state=0).split(hot):
            line = self._fit([architectures[i] for i in known], hot[known], ratios[known])
            scale = [self._uncertainty(architectures[i]) for i in rest]
            errors[rest] = (ratios[rest] - line(hot[rest])) / scale
        self._spread = float(np.sqrt(np.mean(errors**2)))
        self._line = self._fit(architectures, hot, ratios)

    def predict(self, architecture: Architecture) -> tuple[float, float] | None:
        """Foretell the latency over the base's, with the standard error of such predictions by cross-validation.

        Returns:
            None while too little was measured.
        """
        if not self._measured:
            return None
        ratio = float(self._line(self._hot([architecture]))[0])
        return ratio, self._spread * self._uncertainty(architecture)

    def excess(self, architecture: Architecture, allowed: float) -> float:
        """Give the share by which an architecture is foretold to be slower than a ratio; below 0 where it is not.

        The error is added: what just passes is mostly what was foretold too low.
        """
        foretold = self.predict(architecture)
        return sum(foretold) / allowed - 1 if foretold else -1.0

    @property
    def fastest(self) -> float:
        """The lowest ratio foretold of any architecture of the space; 1 while nothing is known."""
        shares = self._line.shares
        return self._line.start + sum(
            min(float(shares[self._columns[name, choice]]) for choice in choices)
            for name, choices in self._space.variables.items()
        )

    @property
    def error(self) -> float | None:
        """Standard error for an architecture with half of its sites replaced; None while too little was measured."""
        if not self._measured:
            return None
        return self._spread * self._scale(len(self._space.choices) / 2)

    def ratios(self, many: Sequence[Mapping[str, str]]) -> Floats:
        """Foretell the ratios of many architectures of the space, given by the text of each variable's choice.

        Returns:
            Ratios above 0; all alike while nothing is known.
        """
        rows = self._categories.one_hot(self._categories.encode(many))
        return np.asarray(np.maximum(self._line(rows), _LOWEST))

    def _fit(self, architectures: Sequence[Architecture], hot: Floats, ratios: Floats) -> _Line:
        if self._table is None:
            model = Ridge(alpha=1.0).fit(hot, ratios)
            return _Line(float(model.intercept_), np.asarray(model.coef_))
        return self._line_of(self._table.fitted(architectures, ratios.tolist()))

    def _line_of(self, table: LatencyTable) -> _Line:
        """Take the table's shares; tied sites add up."""
        tied = {group[0]: group for group in self._space.ties}
        shares = [
            sum(table.share(site, choice) for site in tied.get(name, (name,)))
            for name, choices in self._space.variables.items()
            for choice in choices
        ]
        return _Line(1.0, np.array(shares))

    def _uncertainty(self, architecture: Architecture) -> float:
        return self._scale(len(architecture))

    def _scale(self, replaced: float) -> float:
        """With a table the base is known and each replaced site adds an error of its own; else all are alike."""
        return 1.0 if self._table is None else math.sqrt(max(1.0, replaced))

    def _hot(self, architectures: Sequence[Architecture]) -> Floats:
        """Give one-hot rows, with zeros for choices of the base that the space does not offer."""
        rows = np.zeros((len(architectures), self._categories.width))
        for row, architecture in zip(rows, architectures, strict=True):
            for name in self._space.variables:
                column = self._columns.get((name, architecture[name]))
                if column is not None:
                    row[column] = 1.0
        return rows
