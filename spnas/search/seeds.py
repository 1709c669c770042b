"""The architectures a search evaluates before its sampler proposes any."""

from __future__ import annotations

from spnas.architecture import REGULAR, Architecture
from spnas.runs.records import Origin
from spnas.spaces import SearchSpace

_SHARES = (0.25, 0.5, 0.75)


def seed_architectures(space: SearchSpace) -> list[tuple[Architecture, Origin]]:
    """List the base network, every uniform architecture, and graded mixtures between the base and those.

    A mixture gives one uniform choice to the share of the sites (a quarter, a half, three quarters) that hold the
    most weights. There the arithmetic saved is most against the fixed cost of an operator's extra calls. Samplers
    that draw every site at random almost never come near the base network, where the accurate half of the front lies.

    Returns:
        Architectures with their origins, no two the same, the base first.
    """
    uniform = [space.uniform(choice) for choice in space.uniform_choices()]
    found: dict[Architecture, Origin] = {Architecture(): "base"}
    for architecture in uniform:
        found.setdefault(architecture, "uniform")
    for share in _SHARES:
        for architecture in uniform:
            found.setdefault(_mixture(space, architecture, share), "seed")
    return list(found.items())


def _mixture(space: SearchSpace, uniform: Architecture, share: float) -> Architecture:
    """Keep the uniform architecture's choice in the share of the space's variables with the most weights."""
    weights = {
        site.name: site.kernel_size**2 * site.in_channels * site.out_channels
        for site in space.sites
        if site.name in uniform
    }
    replaced = [name for name in space.variables if name in weights]
    replaced = sorted(replaced, key=lambda name: -weights[name])[: round(share * len(replaced))]
    return space.expand(
        {
            name: uniform[name]
            if name in replaced
            else (REGULAR if REGULAR in choices else choices[0])
            for name, choices in space.variables.items()
        }
    )
