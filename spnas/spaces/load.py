"""Search spaces from files: those shipped with spnas, by name, and any other, by path."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from spnas.architecture import ConvSite
from spnas.errors import InputError, SpaceError
from spnas.names import near_miss
from spnas.networks import Network, get_network, list_sites, network_names
from spnas.runs.yaml_file import YamlError, YamlFile, read_yaml
from spnas.spaces.choices import assign_rules, offer_choices, read_choices, without_choice
from spnas.spaces.schema import schema_problems, valid_rules
from spnas.spaces.space import SearchSpace
from spnas.spaces.ties import share_choices, tie_sites

_SUFFIXES = (".yaml", ".yml")


def shipped_folder() -> Path:
    """Find the folder of shipped spaces: in the installed package, or at the root of a checkout."""
    package = Path(str(resources.files("spnas")))
    installed, checkout = package / "search_spaces", package.parent / "search_spaces"
    return installed if installed.is_dir() else checkout


def list_spaces() -> list[str]:
    """List the names of the shipped spaces, in the order of their base networks."""
    order = {name: place for place, name in enumerate(network_names())}
    names = [path.stem for path in shipped_folder().glob("*.yaml")]
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Load a search space and check it whole.

    Args:
        name_or_path: Name of a shipped space, which goes first, or path of a yaml file.

    Raises:
        SpaceError: There is no such space, or its file cannot be used: one `file:line: key: ...` for each problem.
    """
    return _load(_find(str(name_or_path)))


def _find(name_or_path: str) -> Path:
    if name_or_path in list_spaces():
        return shipped_folder() / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        raise SpaceError(f"{path}: no such file")
    names = list_spaces()
    raise SpaceError(
        f"unknown search space {name_or_path!r}, expected a yaml file or one of: {', '.join(names)}"
        f"{near_miss(name_or_path, names)}"
    )


def _load(path: Path) -> SearchSpace:
    """Read and check a file. What can be checked is checked, whatever else is wrong, so that all is told at once."""
    try:
        file = read_yaml(path)
    except YamlError as error:
        raise SpaceError(error.problems) from None
    problems = schema_problems(file)
    rules = valid_rules(file.value)
    written, wrong = read_choices(file, rules)
    unread = bool(wrong) or not rules or len(rules) != len(_items(file, "sites"))
    network, unknown = _network(file)
    problems += wrong + unknown
    if network is None:
        raise SpaceError(file.in_order(problems))
    sites = _sites(network)
    rule_of, unmatched = assign_rules(file, rules, sites)
    offered, refused = offer_choices(file, written, rule_of, sites)
    if not unread and not unmatched:
        refused += without_choice(file, written, rule_of, offered, sites)
    groups, wrong = tie_sites(file, _items(file, "tie"), sites)
    choices, apart = share_choices(file, groups, offered)
    problems += unmatched + refused + wrong + apart
    if problems:
        raise SpaceError(file.in_order(problems))
    return SearchSpace(path.stem, network, list(sites), choices, list(groups.values()), file.text)


def _items(file: YamlFile, key: str) -> list[Any]:
    """Give a list of the file, empty where there is none; the schema tells that it should be one."""
    items = file.value.get(key) if isinstance(file.value, dict) else None
    return items if isinstance(items, list) else []


def _network(file: YamlFile) -> tuple[Network | None, list[str]]:
    """Give the base network, None where the file names none that is known."""
    name = file.value.get("base") if isinstance(file.value, dict) else None
    if not isinstance(name, str):
        return None, []
    try:
        return get_network(name), []
    except InputError as error:
        return None, [file.where("base") + problem for problem in error.problems]


@cache
def _sites(network: Network) -> tuple[ConvSite, ...]:
    """List a base network's sites, once (the largest take a second), and leave torch's random numbers as they were."""
    with torch.random.fork_rng(devices=[]):
        return tuple(list_sites(network.build()))
