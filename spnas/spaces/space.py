"""A search space: for each site of a base network the choices it has."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from spnas.architecture import REGULAR, Architecture, Choice, ConvSite
from spnas.errors import ArchitectureError, SpaceError
from spnas.names import near_miss
from spnas.networks import Network, list_sites
from spnas.operators import refusal


@dataclass(frozen=True)
class SearchSpace:
    """What a search may choose at each site of a base network. Made by `load_space`.

    Attributes:
        name: Name of the file, without `.yaml`.
        network: The base network.
        sites: Every site of the base network, in the order of its modules, with the channels it has at the network's
            default number of classes, or at that of `for_classes`.
        choices: The choices of each site, by its name: those of the file that the site can take, and that all sites
            tied to it can take.
        ties: Groups of site names that share one choice, each in the order of the sites.
        text: The file's text.
    """

    name: str
    network: Network
    sites: list[ConvSite]
    choices: dict[str, tuple[Choice, ...]]
    ties: list[tuple[str, ...]]
    text: str

    @property
    def base(self) -> str:
        """Name of the base network."""
        return self.network.name

    @cached_property
    def variables(self) -> dict[str, tuple[Choice, ...]]:
        """The choices of each free variable: a site, or a tied group under the name of its first site."""
        following = {name for group in self.ties for name in group[1:]}
        return {name: given for name, given in self.choices.items() if name not in following}

    def for_classes(self, num_classes: int) -> SearchSpace:
        """Give the space of the network with so many classes: without choices that a site's channels then do not allow.

        Raises:
            SpaceError: A site has no choice left; one line for each.
        """
        with torch.random.fork_rng(devices=[]):
            sites = list_sites(self.network.build(num_classes))
        by_name = {site.name: site for site in sites}
        tied = {name: group for group in self.ties for name in group}

        def reason(name: str, choice: Choice) -> str | None:
            reasons = (refusal(choice, by_name[each]) for each in tied.get(name, (name,)))
            return next(filter(None, reasons), None)

        choices = {
            name: tuple(choice for choice in given if reason(name, choice) is None)
            for name, given in self.choices.items()
        }
        problems = [
            f"space {self.name}: with {num_classes} classes site {name} can take none of its choices; "
            f"{self.choices[name][0]}: {reason(name, self.choices[name][0])}"
            for name, possible in choices.items()
            if not possible
        ]
        if problems:
            raise SpaceError(problems)
        return replace(self, sites=sites, choices=choices)

    @property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of architectures."""
        return sum(math.log10(len(given)) for given in self.variables.values())

    def expand(self, values: Mapping[str, Choice]) -> Architecture:
        """Make the architecture of a choice for each variable.

        Raises:
            ArchitectureError: A variable is missing or unknown, or is given a choice it does not have; one line each.
        """
        problems = [f"variable {name}: missing" for name in self.variables if name not in values]
        for name, choice in values.items():
            if name not in self.variables:
                problems.append(f"variable {name}: unknown in space {self.name}")
            elif choice not in self.variables[name]:
                problems.append(self._not_offered(name, choice))
        if problems:
            raise ArchitectureError(problems)
        first = {name: group[0] for group in self.ties for name in group}
        return Architecture({name: values[first.get(name, name)] for name in self.choices})

    def uniform_choices(self) -> list[Choice]:
        """List the choices there are at any site, in the order in which they first appear."""
        return list(dict.fromkeys(choice for given in self.choices.values() for choice in given))

    def uniform(self, choice: Choice) -> Architecture:
        """Make the architecture with the choice wherever it is offered, and regular elsewhere.

        Where neither is offered, a site gets its first choice.

        Raises:
            ArchitectureError: No site offers the choice.
        """
        if choice not in self.uniform_choices():
            allowed = ", ".join(map(str, self.uniform_choices()))
            raise ArchitectureError(
                f"no site of space {self.name} offers {choice}, expected one of: {allowed}"
                f"{near_miss(str(choice), allowed.split(', '))}"
            )
        preferred = (choice, REGULAR)
        return self.expand(
            {
                name: next((item for item in preferred if item in given), given[0])
                for name, given in self.variables.items()
            }
        )

    def sample(self, rng: random.Random, replaced: float = 1.0) -> Architecture:
        """Draw an architecture: every one as likely as any other, or nearer to the base network.

        Args:
            rng: Draws.
            replaced: Share of the sites that are drawn; others stay regular where that is offered. Drawn everywhere,
                an architecture almost never comes near the base network.
        """
        return self.expand(
            {
                name: rng.choice(choices)
                if REGULAR not in choices or replaced == 1 or rng.random() < replaced
                else REGULAR
                for name, choices in self.variables.items()
            }
        )

    def check(self, architecture: Architecture) -> None:
        """Check that an architecture is one of this space.

        Raises:
            ArchitectureError: It is not; one line for each site that is unknown, has a choice it is not offered, or
                differs from a site it is tied to.
        """
        problems = [
            f"site {name}: unknown in base network {self.base}"
            for name in architecture
            if name not in self.choices
        ]
        problems += [
            self._not_offered(name, architecture[name])
            for name, given in self.choices.items()
            if architecture[name] not in given
        ]
        for first, *rest in self.ties:
            problems += [
                f"site {name}: {architecture[name]}, but it is tied to {first}, which has {architecture[first]}"
                for name in rest
                if architecture[name] != architecture[first]
            ]
        if problems:
            raise ArchitectureError(problems)

    def _not_offered(self, name: str, choice: Choice) -> str:
        allowed = ", ".join(map(str, self.choices[name]))
        return f"site {name}: {choice} is not offered, expected one of: {allowed}"
