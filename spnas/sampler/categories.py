"""Categorical parameters as arrays: what a surrogate and a search for candidates compute with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


class Categories:
    """Parameters with their choices; an architecture is a row with the number of the choice of each parameter.

    Args:
        choices: Of each parameter, in order.
    """

    def __init__(self, choices: Mapping[str, Sequence[Any]]) -> None:
        self.choices = {name: tuple(given) for name, given in choices.items()}
        self.counts = np.array([len(given) for given in self.choices.values()], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        self.width = int(self.counts.sum())
        self._numbers = [{c: i for i, c in enumerate(g)} for g in self.choices.values()]
        self.alike = self._likeness()
        self.shared = self._shared()

    @property
    def size(self) -> float:
        """Number of architectures."""
        return float(np.prod(self.counts.astype(float)))

    def encode(self, many: Sequence[Mapping[str, Any]]) -> Codes:
        """Turn parameters into rows, (N, parameters)."""
        names = tuple(self.choices)
        rows = [
            [numbers[params[name]] for name, numbers in zip(names, self._numbers, strict=True)]
            for params in many
        ]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(names))

    def decode(self, rows: Codes) -> list[dict[str, Any]]:
        """Turn rows into parameters."""
        items = list(self.choices.items())
        return [
            {name: given[number] for (name, given), number in zip(items, row, strict=True)}
            for row in rows.tolist()
        ]

    def one_hot(self, rows: Codes) -> Floats:
        """Give a column to every choice of every parameter, (N, width)."""
        out = np.zeros((len(rows), self.width))
        np.put_along_axis(out, rows + self.starts, 1.0, axis=1)
        return out

    def spread(self, per_parameter: Floats) -> Floats:
        """Give every choice what its parameter has, (width,)."""
        return np.repeat(per_parameter, self.counts)

    def split(self, per_choice: Floats) -> list[Floats]:
        """Part what every choice has by parameter."""
        return np.split(per_choice, self.starts[1:])

    def _likeness(self) -> Floats:
        """Map one-hot columns to vectors whose products tell how alike two choices of a parameter are, (width, width).

        Equal choices are alike to 1 and names to 0; numbers the more the nearer they are in rank.
        """
        out = np.eye(self.width)
        for given, start in zip(self.choices.values(), self.starts, strict=True):
            ends = start + len(given)
            numbers = all(isinstance(c, int | float) and not isinstance(c, bool) for c in given)
            if numbers and len(given) > 2:
                rank = np.argsort(np.argsort(given)) / (len(given) - 1)
                distance = np.abs(rank[:, None] - rank)
                out[start:ends, start:ends] = np.linalg.cholesky(np.exp(-distance))
        return out

    def _shared(self) -> Floats:
        """Map one-hot columns to how many parameters take each choice that several offer, (width, choices)."""
        everything = [choice for given in self.choices.values() for choice in given]
        several = [c for c in dict.fromkeys(everything) if everything.count(c) > 1]
        table = [[float(choice == other) for other in several] for choice in everything]
        return np.array(table).reshape(self.width, len(several))

    def random(self, rng: np.random.Generator, many: int) -> Codes:
        """Draw rows, every architecture as likely as any other."""
        return rng.integers(self.counts, size=(many, len(self.counts)))

    def part(self, first: int, last: int) -> Codes:
        """Give the architectures numbered from first to before last, of a small space."""
        numbers = np.unravel_index(np.arange(first, last), tuple(self.counts))
        return np.stack(numbers, axis=1).astype(np.int64)

    def neighbours(self, rows: Codes) -> Codes:
        """Give every row that differs from one of these in one parameter."""
        out = [rows[:0]]
        for parameter, count in enumerate(self.counts):
            for step in range(1, count):
                moved = rows.copy()
                moved[:, parameter] = (moved[:, parameter] + step) % count
                out.append(moved)
        return np.concatenate(out)
