"""The architectures a search evaluates before its sampler proposes any."""

from __future__ import annotations

from collections.abc import Callable

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.latency import LatencyTable
from spnas.runs.records import Origin
from spnas.sampler.programme import solve_budgets
from spnas.spaces import SearchSpace
from spnas.training import Scores

_SHARES = (0.25, 0.5, 0.75)
_BUDGETS = 16  # of latency, that a best architecture is found for
_DIFFERENT = 2  # sites, at least, between two of those

# Gives the worth of replacing a site, the site by name; what is worth most is replaced first, what is worth 0 never.
_Worth = Callable[[str, Choice], float]


def seed_architectures(
    space: SearchSpace, table: LatencyTable | None = None, scores: Scores | None = None
) -> list[tuple[Architecture, Origin]]:
    """List the base network, every uniform architecture, and a front between those.

    With a table and scores that is the front of their sums, by an integer programme. Else it is graded mixtures: a
    mixture gives one uniform choice to a share of the sites (a quarter, a half, three quarters), to those where, by
    the latency table, it saves most, and to none where it saves nothing; without a table to those with the most
    weights, where the arithmetic saved is most against the fixed cost of an operator's extra calls. Samplers that draw
    every site at random almost never come near the base network, where the accurate half of the front lies.

    Args:
        space: The search space.
        table: What each choice takes at each site.
        scores: How much each choice hurts at each site.

    Returns:
        Architectures with their origins, no two the same, the base first.
    """
    uniform = [space.uniform(choice) for choice in space.uniform_choices()]
    found: dict[Architecture, Origin] = {Architecture(): "base"}
    for architecture in uniform:
        found.setdefault(architecture, "uniform")
    if table is not None and scores is not None:
        for architecture in _front(space, table, scores):
            found.setdefault(architecture, "seed")
        return list(found.items())
    worth = _saving(table) if table else _weights(space)
    for share in _SHARES:
        for architecture in uniform:
            found.setdefault(_mixture(space, architecture, share, worth), "seed")
    return list(found.items())


def _front(space: SearchSpace, table: LatencyTable, scores: Scores) -> list[Architecture]:
    """Give the least harmful architecture within each of some latencies, first those in the middle of the others."""
    offered = space.choices.items()
    solutions = solve_budgets(
        {site: {choice: scores[site][choice] for choice in choices} for site, choices in offered},
        {
            site: {choice: table.share(site, choice) for choice in choices}
            for site, choices in offered
        },
        _BUDGETS,
        ties=space.ties,
        min_different=_DIFFERENT,
    )
    # A search that ends early has then seen all of the front, coarsely.
    order = sorted(range(len(solutions)), key=lambda place: f"{place:04b}"[::-1])
    return [Architecture(solutions[place]) for place in order]


def _saving(table: LatencyTable) -> _Worth:
    """Count the seconds that a choice saves at a site."""
    return lambda site, choice: max(0.0, -table.added(site, choice))


def _weights(space: SearchSpace) -> _Worth:
    """Count the weights of a site's plain convolution."""
    weights = {
        site.name: site.kernel_size**2 * site.in_channels * site.out_channels
        for site in space.sites
    }
    return lambda site, _choice: float(weights[site])


def _mixture(
    space: SearchSpace, uniform: Architecture, share: float, worth: _Worth
) -> Architecture:
    """Keep the uniform architecture's choice in the share of the space's variables where it is worth most."""
    held = {name: worth(name, uniform[name]) for name in space.variables if name in uniform}
    ordered = sorted((name for name in held if held[name] > 0), key=lambda name: -held[name])
    replaced = set(ordered[: round(share * len(ordered))])
    return space.expand(
        {
            name: uniform[name]
            if name in replaced
            else (REGULAR if REGULAR in choices else choices[0])
            for name, choices in space.variables.items()
        }
    )
