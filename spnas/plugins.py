"""Packages of others that add operators, networks, tasks or runtimes, loaded by their entry points."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from spnas.errors import ConfigError

GROUP = "spnas.plugins"


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Import every module that an installed package names in the entry-point group `spnas.plugins`, once a process.

    A plugin's module calls `spnas.register_operator`, `spnas.networks.register_network` and the like when it is
    imported. The command line and the search's workers call this before anything is looked up by name.

    Returns:
        The plugins' names.

    Raises:
        ConfigError: One line for each plugin that cannot be imported.
    """
    problems: list[str] = []
    found = entry_points(group=GROUP)
    for plugin in found:
        try:
            plugin.load()
        except Exception as error:  # whatever a stranger's module raises when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            problems.append(f"plugin {plugin.name} ({plugin.value}): cannot be loaded: {reason}")
    if problems:
        raise ConfigError(problems)
    return tuple(plugin.name for plugin in found)
