"""A world whose architectures are trained and measured in no time, for benchmarks of all else."""

from __future__ import annotations

import random

from spnas.architecture import REGULAR, Architecture
from spnas.latency import LatencyTable
from spnas.search.objective import Evaluation
from spnas.spaces import SearchSpace

EPOCHS = 2


class World:
    """A space where every choice at every site adds what a draw says to accuracy and latency."""

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self._rng = random.Random(seed)
        self.space = space
        sites = space.choices.items()
        self._harm = {(s, c): self._rng.random() ** 3 / 60 for s, choices in sites for c in choices}
        self._gain = {(s, c): self._rng.uniform(-0.005, 0.02) for s, ch in sites for c in ch}

    def table(self) -> LatencyTable:
        """Give the latency table of this world."""
        times = {
            site: {
                str(choice): {
                    "plain_ms": 1.0,
                    "forms_ms": {"default": 1.0 - 10 * self._gain[site, choice]},
                }
                for choice in choices
            }
            for site, choices in self.space.choices.items()
        }
        return LatencyTable.from_json({"base_ms": 10.0, "sites": times})

    def draw(self) -> Architecture:
        """Draw an architecture of which about half is regular."""
        offered = self.space.variables.items()
        drawn = {name: self._rng.choice(choices) for name, choices in offered}
        return self.space.expand(
            {name: c if self._rng.random() < 0.5 else REGULAR for name, c in drawn.items()}
        )

    def evaluate(self, architecture: Architecture, epochs: int = EPOCHS) -> Evaluation:
        """Evaluate an architecture in no time, with noise."""
        chosen = [(site, architecture[site]) for site in self.space.choices]
        harm = sum(self._harm[pair] for pair in chosen if str(pair[1]) != "regular")
        gain = sum(self._gain[pair] for pair in chosen if str(pair[1]) != "regular")
        accuracy = 0.5 - harm - 0.05 / epochs + self._rng.gauss(0, 0.004)
        ratio = max(0.05, (1 - gain) * self._rng.gauss(1, 0.005))
        return Evaluation(
            epochs=epochs,
            scores={"map50_95": accuracy, "map50": 1.3 * accuracy},
            latency_ms=30 * ratio,
            latency_ratio=ratio,
            latency_ratio_low=0.99 * ratio,
            latency_ratio_high=1.01 * ratio,
            params=3_000_000,
            macs=4_000_000_000,
            train_s=0.0,
        )
