"""The samplers that a search may use, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna

from spnas.search.config import SamplerName
from spnas.search.prediction import LatencyModel
from spnas.search.sampler import LatencyAwareSampler


def make_sampler(
    name: SamplerName, seed: int, space: Mapping[str, Sequence[str]], latency: LatencyModel
) -> optuna.samplers.BaseSampler:
    """Make a sampler.

    Args:
        name: Which one.
        seed: Of its random numbers.
        space: The choices of each parameter.
        latency: What foretells latency to the one that wants to know it.
    """
    if name == "latency-aware":
        return LatencyAwareSampler(latency.ratios, seed=seed, space=space)
    if name == "tpe":  # multivariate, the best of Optuna's own on tables of architectures
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=20, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
