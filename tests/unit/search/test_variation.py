"""Children of the front."""

from __future__ import annotations

import random

from spnas.architecture import Architecture
from spnas.search.variation import offspring
from spnas.spaces import SearchSpace, load_space


def test_a_child_takes_after_its_parents_but_for_a_few_sites() -> None:
    space = load_space("yolov8n")
    rng = random.Random(0)
    parents = [space.sample(rng), space.sample(rng)]
    drawn = []
    for _ in range(200):
        child = offspring(space, parents, rng)
        space.check(child)
        drawn.append(
            sum(all(child[name] != parent[name] for parent in parents) for name in space.variables)
        )
    assert max(drawn) <= 8
    assert 0.5 < sum(drawn) / len(drawn) < 2  # two are drawn on average, some of them alike


def test_a_child_of_the_base_alone_differs_from_it_at_few_sites() -> None:
    space = load_space("resnet50")
    rng = random.Random(1)
    sizes = [len(offspring(space, [Architecture()], rng)) for _ in range(100)]
    assert 1 <= sum(sizes) / 100 < 3


def test_the_whole_of_a_small_space_can_be_reached(space: SearchSpace) -> None:
    rng = random.Random(2)
    assert len({offspring(space, [Architecture()], rng) for _ in range(3000)}) == 27
