"""Takes what a run has written to the nodes of a cluster, which have the data set but not the run's directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from spnas.search.objective import TrialSettings

_FILES = (
    "weights",
    "library",
    "data",
)  # settings that may name a file; a data set's folder stays where it is


class Parcel:
    """The files that a trial's settings name, in Ray's object store; each node fetches them from there.

    Args:
        settings: What every trial of the run shares.
    """

    def __init__(self, settings: TrialSettings) -> None:
        named = {name: Path(value) for name in _FILES if (value := getattr(settings, name))}
        content = {name: path.read_bytes() for name, path in named.items() if path.is_file()}
        self._suffixes = {name: named[name].suffix for name in content}
        self._content = ray.put(content)

    @contextmanager
    def unpacked(self, settings: TrialSettings) -> Iterator[TrialSettings]:
        """Write the files to a temporary folder; give the settings that name them there, as long as it is needed."""
        with tempfile.TemporaryDirectory(prefix="spnas-parcel-") as folder:
            paths: dict[str, Any] = {}
            for name, content in ray.get(self._content).items():
                path = Path(folder, f"{name}{self._suffixes[name]}")
                path.write_bytes(content)
                paths[name] = str(path)
            yield replace(settings, **paths)
