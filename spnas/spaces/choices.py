"""From a rule's choices as written to the choices of each site."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from spnas.architecture import Choice, ConvSite
from spnas.errors import ArchitectureError
from spnas.operators import choice_problem, refusal
from spnas.runs.yaml_file import KeyPath, YamlFile
from spnas.spaces.schema import RuleSchema

Located = list[tuple[KeyPath, Choice]]
_NEAR = 5


def read_choices(
    file: YamlFile, rules: Mapping[int, RuleSchema]
) -> tuple[dict[int, Located], list[str]]:
    """Read the choices of each rule, lists of parameters expanded.

    Returns:
        By the rule's place: each choice with its key path. And the problems.
    """
    found: dict[int, Located] = {}
    problems: list[str] = []
    for place, rule in rules.items():
        found[place] = []
        for number, item in enumerate(rule.choices):
            keys: KeyPath = ("sites", place, "choices", number)
            read, wrong = _read_item(item, {choice for _, choice in found[place]})
            found[place] += [((*keys, *suffix), choice) for suffix, choice in read]
            problems += [file.where(*keys, *suffix) + problem for suffix, problem in wrong]
    return found, problems


def _read_item(item: Any, known: set[Choice]) -> tuple[Located, list[tuple[KeyPath, str]]]:
    """Read one item of a list of choices, into a choice for each combination of its parameters.

    Returns:
        Choices, and problems, each with its place inside the item.
    """
    if isinstance(item, dict) and [] in item.values():
        return [], [((), "expected a number or a list of numbers, got []")]
    read: Located = []
    places: dict[str, list[KeyPath]] = {}
    for suffix, value in _expand(item):
        choice, problems = _read_choice(value, known | {choice for _, choice in read})
        if choice is not None:
            read.append((suffix, choice))
        for problem in problems:
            places.setdefault(problem, []).append(suffix)
    # What is wrong with every combination alike is wrong with the item.
    return read, [(at[0] if len(at) == 1 else (), problem) for problem, at in places.items()]


def _expand(item: Any) -> Iterator[tuple[KeyPath, Any]]:
    """Yield one item for each combination of parameters given as lists, with the place of the parameter in it."""
    lists = (
        {key: v for key, v in item.items() if isinstance(v, list)} if isinstance(item, dict) else {}
    )
    for places in itertools.product(*(range(len(values)) for values in lists.values())):
        given = dict(zip(lists, places, strict=True))
        chosen = {key: lists[key][place] for key, place in given.items()}
        suffix = next(iter(given.items())) if len(given) == 1 else ()
        yield suffix, item | chosen if chosen else item


def _read_choice(value: Any, known: set[Choice]) -> tuple[Choice | None, list[str]]:
    try:
        # Through its text, so that a choice that comes back from a table or a study equals the space's.
        choice = Choice.parse(str(Choice.from_yaml(value)))
    except ArchitectureError as error:
        return None, error.problems
    problem = choice_problem(choice) or (f"{choice} is given twice" if choice in known else None)
    return (choice, []) if problem is None else (None, [problem])


def match_sites(pattern: str, sites: Sequence[ConvSite]) -> list[ConvSite]:
    """List the sites of a pattern; `*` stands for anything, dots included, `?` and `[...]` for one character."""
    return [site for site in sites if fnmatchcase(site.name, pattern)]


def no_match_problem(pattern: str, sites: Sequence[ConvSite]) -> str:
    """Tell of a pattern that matches nothing, with the sites that are spelled most like it."""
    names = [site.name for site in sites]
    near = difflib.get_close_matches(pattern, names, n=_NEAR, cutoff=0.5) or names[:_NEAR]
    rest = len(names) - len(near)
    more = f" (and {rest} other sites)" if rest else ""
    return (
        f"{pattern!r} matches no site, expected a pattern of names such as {', '.join(near)}{more}"
    )


def assign_rules(
    file: YamlFile, rules: Mapping[int, RuleSchema], sites: Sequence[ConvSite]
) -> tuple[dict[str, int], list[str]]:
    """Find the last rule that matches each site.

    Returns:
        The rule's place by site name, in the order of the sites. And the problems: patterns that match nothing.
    """
    last: dict[str, int] = {}
    problems: list[str] = []
    for place, rule in sorted(rules.items()):
        matched = match_sites(rule.match, sites)
        last |= {site.name: place for site in matched}
        if not matched:
            problems.append(
                file.where("sites", place, "match") + no_match_problem(rule.match, sites)
            )
    return {site.name: last[site.name] for site in sites if site.name in last}, problems


def offer_choices(
    file: YamlFile,
    choices: Mapping[int, Located],
    rule_of: Mapping[str, int],
    sites: Sequence[ConvSite],
) -> tuple[dict[str, tuple[Choice, ...]], list[str]]:
    """Give each site the choices of its rule, less those its operators refuse.

    Returns:
        Choices by site name, in the order of the sites. And the problems: choices that no site of their rule takes.
    """
    problems: list[str] = []
    for place, located in choices.items():
        mine = [site for site in sites if rule_of.get(site.name) == place]
        for keys, choice in located:
            reasons = [refusal(choice, site) for site in mine]
            if reasons and None not in reasons:
                what = f"no site of this rule can take {choice}; {mine[0]}: {reasons[0]}"
                problems.append(file.where(*keys) + what)
    offered = {
        site.name: tuple(c for _, c in choices[rule_of[site.name]] if refusal(c, site) is None)
        for site in sites
        if site.name in rule_of
    }
    return offered, problems


def without_choice(
    file: YamlFile,
    choices: Mapping[int, Located],
    rule_of: Mapping[str, int],
    offered: Mapping[str, tuple[Choice, ...]],
    sites: Sequence[ConvSite],
) -> list[str]:
    """Report sites that no rule matches, and sites that can take none of their rule's choices, one line a rule."""
    problems = []
    unmatched = [site.name for site in sites if site.name not in rule_of]
    if unmatched:
        names = ", ".join(unmatched[:_NEAR]) + (", ..." if len(unmatched) > _NEAR else "")
        what = f"no rule matches {len(unmatched)} of {len(sites)} sites: {names}"
        problems.append(f"{file.where('sites')}{what}; a first rule with match: '*' covers all")
    for place, located in choices.items():
        mine = [site for site in sites if rule_of.get(site.name) == place]
        empty = [site for site in mine if not offered[site.name]]
        # Where no site at all can take anything, every single choice has been reported already.
        if empty and len(empty) < len(mine):
            reasons = "; ".join(f"{choice}: {refusal(choice, empty[0])}" for _, choice in located)
            more = f" (and {len(empty) - 1} other sites)" if len(empty) > 1 else ""
            where = file.where("sites", place, "choices")
            problems.append(f"{where}{empty[0]}{more} is left without a choice; {reasons}")
    return problems
