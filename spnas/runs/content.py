"""Everything a run's files say, read at once; what an interrupted or older run lacks is empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from spnas.errors import RunError
from spnas.runs.course import read_costs, read_rungs
from spnas.runs.directory import RunDirectory
from spnas.runs.records import State, TrialRecord
from spnas.runs.summary import METRIC_TITLES
from spnas.runs.table import read_records, read_trials, table_columns


@dataclass(frozen=True)
class RunContent:
    """What a run's files say.

    Attributes:
        run: The run directory.
        metric: Column of the accuracy that the search maximized; `accuracy` where no trial has ended.
        sites: The sites, in the network's order.
        trials: Ended trials, in order of completion.
        again: Re-evaluations, in order of completion.
        rungs: What trials had at their rungs (`read_rungs`).
        costs: Device-seconds by phase; empty where the search has not ended.
        config: config.yaml.
        environment: environment.json.
    """

    run: RunDirectory
    metric: str = "accuracy"
    sites: tuple[str, ...] = ()
    trials: list[TrialRecord] = field(default_factory=list)
    again: list[TrialRecord] = field(default_factory=list)
    rungs: pd.DataFrame = field(default_factory=pd.DataFrame)
    costs: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def metric_title(self) -> str:
        """The accuracy's name for people."""
        return METRIC_TITLES.get(self.metric, self.metric)

    @property
    def device_unit(self) -> str:
        """What the budget counts, `GPU` or `core`."""
        resolved = self.config.get("resolved")
        return "GPU" if isinstance(resolved, dict) and resolved.get("gpus") else "core"

    def in_state(self, *states: State) -> list[TrialRecord]:
        """Give the trials that ended in one of these states."""
        return [record for record in self.trials if record.state in states]


def read_run(run: RunDirectory) -> RunContent:
    """Read a run's files.

    Raises:
        RunError: A file is there and cannot be read.
    """
    known: dict[str, Any] = {
        "config": _mapping(run.config, yaml.safe_load),
        "environment": _mapping(run.environment, json.loads),
        "rungs": read_rungs(run.rungs),
        "costs": read_costs(run.costs),
    }
    if not run.trials.is_file():
        return RunContent(run, **known)
    columns = table_columns(read_trials(run.trials))
    return RunContent(
        run,
        metric=columns.metric,
        sites=columns.sites,
        trials=read_records(run.trials),
        again=read_records(run.confirmed) if run.confirmed.is_file() else [],
        **known,
    )


def cost_breakdown(content: RunContent) -> dict[str, float]:
    """Give device-seconds by phase, the trials' by the state that they ended in.

    Beside the trials' own, `trials: waiting` is what no trial occupied while they ran. Where the search has not ended,
    only the trials' and re-evaluations' own are known.
    """
    states = {
        f"trials: {state}": cost
        for state in ("complete", "stopped", "infeasible", "failed")
        if (cost := sum(record.device_s or 0.0 for record in content.in_state(state)))
    }
    if not content.costs:
        confirmation = sum(record.device_s or 0.0 for record in content.again)
        return states | ({"confirmation": confirmation} if confirmation else {})
    found: dict[str, float] = {}
    for phase, cost in content.costs.items():
        if phase == "trials":
            found |= {**states, "trials: waiting": max(0.0, cost - sum(states.values()))}
        else:
            found[phase] = cost
    return {phase: cost for phase, cost in found.items() if cost > 0}


def _mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Read a file that holds a mapping; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a mapping, got {type(content).__name__}")
    return content
