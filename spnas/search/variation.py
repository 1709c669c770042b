"""New architectures from good ones: crossover of two members of the front, then mutation."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spnas.architecture import Architecture
from spnas.spaces import SearchSpace

_MUTATIONS = 2.0  # expected number of variables drawn anew


def offspring(
    space: SearchSpace, parents: Sequence[Architecture], rng: random.Random
) -> Architecture:
    """Cross two parents uniformly and draw a few variables anew, one at least.

    What is near the front fills its gaps: a child of the base network and a fast member lies between the two.

    Args:
        space: The search space; variables for which a parent has no choice of it are drawn.
        parents: The front, at least one architecture.
        rng: Source of randomness.
    """
    pair = rng.choice(parents), rng.choice(parents)
    free = [name for name, choices in space.variables.items() if len(choices) > 1]
    drawn = {name for name in free if rng.random() < _MUTATIONS / len(free)}
    drawn = drawn or set(rng.sample(free, min(1, len(free))))
    values = {}
    for name, choices in space.variables.items():
        inherited = rng.choice(pair)[name]
        kept = name not in drawn and inherited in choices
        values[name] = inherited if kept else rng.choice(choices)
    return space.expand(values)
