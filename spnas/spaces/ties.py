"""Groups of sites that share one choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spnas.architecture import Choice, ConvSite
from spnas.runs.yaml_file import YamlFile
from spnas.spaces.choices import match_sites, no_match_problem

Group = tuple[str, ...]
_SHOWN = 3


def tie_sites(
    file: YamlFile, patterns: Sequence[object], sites: Sequence[ConvSite]
) -> tuple[dict[int, Group], list[str]]:
    """Find the group of each pattern.

    Returns:
        By the pattern's place: its site names in the order of the sites. And the problems: patterns that match fewer
        than two sites, and sites of two groups.
    """
    groups: dict[int, Group] = {}
    problems: list[str] = []
    tied: dict[str, str] = {}
    for place, pattern in enumerate(patterns):
        if not isinstance(pattern, str):  # the schema tells of it
            continue
        where = file.where("tie", place)
        group = tuple(site.name for site in match_sites(pattern, sites))
        twice = [name for name in group if name in tied]
        if not group:
            problems.append(where + no_match_problem(pattern, sites))
        elif len(group) == 1:
            problems.append(f"{where}{pattern!r} ties nothing, it matches site {group[0]} alone")
        elif twice:
            other = tied[twice[0]]
            problems.append(
                f"{where}site {twice[0]} is tied by {other!r} already, allowed: one tie a site"
            )
        else:
            groups[place] = group
            tied |= dict.fromkeys(group, pattern)
    return groups, problems


def share_choices(
    file: YamlFile, groups: Mapping[int, Group], offered: Mapping[str, tuple[Choice, ...]]
) -> tuple[dict[str, tuple[Choice, ...]], list[str]]:
    """Leave each tied site only the choices that all sites of its group can take.

    Returns:
        Choices by site name. And the problems: groups without a common choice.
    """
    shared = dict(offered)
    problems = []
    for place, group in groups.items():
        lists = [offered.get(name, ()) for name in group]
        common = tuple(choice for choice in lists[0] if all(choice in other for other in lists))
        if not common and all(lists):
            different = {choices: name for name, choices in zip(group, lists, strict=True)}
            told = [f"{name}: {', '.join(map(str, given))}" for given, name in different.items()]
            what = f"its {len(group)} sites have no choice in common; {'; '.join(told[:_SHOWN])}"
            problems.append(file.where("tie", place) + what)
        shared |= dict.fromkeys(group, common)
    return shared, problems
