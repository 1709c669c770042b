"""The first architectures of a search."""

from __future__ import annotations

import random

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.latency import LatencyTable, LayerTimes
from spnas.search.seeds import seed_architectures
from spnas.spaces import SearchSpace, load_space

GHOST = Choice.parse("ghost:0.5")


def test_the_base_then_the_uniform_ones_then_mixtures_without_repetition(
    space: SearchSpace,
) -> None:
    seeds = seed_architectures(space)
    architectures = [architecture for architecture, _ in seeds]
    assert architectures[0] == Architecture()
    assert architectures[1:3] == [space.uniform(c) for c in space.uniform_choices()[1:]]
    assert len(set(architectures)) == len(architectures)
    assert [origin for _, origin in seeds[:3]] == ["base", "uniform", "uniform"]
    assert {origin for _, origin in seeds[3:]} == {"seed"}


def test_mixtures_replace_where_most_weights_are() -> None:
    space = load_space("resnet20-cifar")
    weights = {s.name: s.in_channels * s.out_channels for s in space.sites}
    mixtures = [a for a, origin in seed_architectures(space) if origin == "seed"]
    assert mixtures
    for mixture in mixtures:
        offered = {n for n in space.variables if next(iter(mixture.values())) in space.choices[n]}
        kept = [weights[name] for name in offered - set(mixture)]
        assert min(weights[name] for name in mixture) >= max(kept)


def test_a_table_says_where_they_replace_and_where_never(space: SearchSpace) -> None:
    """The first site saves little, the second most, the third is slower."""
    names = [name for name, choices in space.variables.items() if len(choices) > 1]
    taken = dict(zip(names, (0.9e-3, 0.2e-3, 1.5e-3), strict=True))
    table = LatencyTable(
        0.01,
        {
            name: {
                choice: LayerTimes(1e-3, {"default": taken.get(name, 1e-3)}) for choice in choices
            }
            for name, choices in space.variables.items()
        },
    )
    seeds = [set(a) for a, origin in seed_architectures(space, table) if origin == "seed"]
    assert {names[1]} in seeds
    assert {names[0], names[1]} in seeds
    assert not any(names[2] in sites for sites in seeds)


def test_a_table_and_scores_give_their_front() -> None:
    """Of 3000 random architectures none is less harmful and faster than a seed."""
    space, rng = load_space("resnet20-cifar"), random.Random(1)
    scores = {
        name: {choice: 0.0 if choice == REGULAR else -rng.random() for choice in choices}
        for name, choices in space.choices.items()
    }
    times = {
        name: {
            choice: LayerTimes(1e-3, {"default": rng.uniform(0.2e-3, 1e-3)}) for choice in choices
        }
        for name, choices in space.choices.items()
    }
    table = LatencyTable(0.02, times)

    def figures(architecture: Architecture) -> tuple[float, float]:
        harm = -sum(scores[site][choice] for site, choice in architecture.items())
        return harm, table.ratio(architecture)

    found = seed_architectures(space, table, scores)
    seeds = [figures(architecture) for architecture, origin in found if origin == "seed"]
    drawn = [figures(space.sample(rng)) for _ in range(3000)]
    assert len(seeds) >= 12
    assert not any(h < harm and r < ratio for harm, ratio in seeds for h, r in drawn)
    ratios = [ratio for _, ratio in seeds]
    assert max(ratios) - min(ratios) > 0.8 * (1 - min(ratios))  # from the base to the fastest
