"""The samplers that a search may use, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import optuna

from spnas.sampler import LatencyAwareSampler
from spnas.sampler.categories import Floats
from spnas.search.config import SamplerName


def make_sampler(
    name: SamplerName,
    seed: int,
    space: Mapping[str, Sequence[str]],
    latency: Callable[[list[dict[str, str]]], Floats],
    prior: Mapping[str, Mapping[str, float]] | None = None,
) -> optuna.samplers.BaseSampler:
    """Make a sampler.

    Args:
        name: Which one.
        seed: Of its random numbers.
        space: The choices of each parameter.
        latency: Foretells latencies to the one that wants to know them.
        prior: A score of each choice of each parameter, likewise.
    """
    if name == "latency-aware":
        return LatencyAwareSampler(latency, prior, seed, space=space)
    if name == "tpe":  # multivariate, the best of Optuna's own on tables of architectures
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
