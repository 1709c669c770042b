"""How a run went: what trials had at their rungs (rungs.csv), and what each phase cost (costs.csv)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from spnas.errors import RunError
from spnas.runs.files import write_csv

Rung = tuple[int, int, float, float]
"""A trial's number, the epochs it had trained, the accuracy and the latency (ms) that it had there."""

_RUNGS = ("trial", "epochs", "latency_ms")
_COSTS = ("phase", "device_s", "share")


def write_rungs(path: Path, rungs: Iterable[Rung], metric: str) -> None:
    """Write rungs.csv, atomically; see `read_rungs`."""
    write_csv(path, pd.DataFrame(list(rungs), columns=["trial", "epochs", metric, "latency_ms"]))


def read_rungs(path: Path) -> pd.DataFrame:
    """Read rungs.csv: a row for each rung that a trial reached; `trial`, `epochs`, the accuracy and `latency_ms`.

    Returns:
        Without rows where there is no such file: the run has no rungs, or is of an earlier version.

    Raises:
        RunError: It is not such a table.
    """
    return _read(path, _RUNGS)


def write_costs(path: Path, device_seconds: Mapping[str, float]) -> None:
    """Write costs.csv, atomically: what each phase took of what the run spent.

    Args:
        path: The file.
        device_seconds: By phase, in the order in which they come.
    """
    total = sum(device_seconds.values())
    rows = [(name, cost, cost / total if total else 0.0) for name, cost in device_seconds.items()]
    write_csv(path, pd.DataFrame(rows, columns=list(_COSTS)).round(4))


def read_costs(path: Path) -> dict[str, float]:
    """Read costs.csv: device-seconds by phase; empty where there is no such file.

    Raises:
        RunError: It is not such a table.
    """
    table = _read(path, _COSTS)
    return dict(zip(table["phase"].astype(str), table["device_s"].astype(float), strict=True))


def _read(path: Path, expected: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(expected))
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not a table: {str(error).strip()}") from None
    missing = [column for column in expected if column not in table]
    if missing:
        raise RunError(f"{path}: columns missing: {', '.join(missing)}")
    return table
