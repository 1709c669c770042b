"""The first architectures of a search."""

from __future__ import annotations

from spnas.architecture import Architecture, Choice
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
