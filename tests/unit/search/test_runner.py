"""How many workers do the trials, with a private Ray and short trials."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spnas.runs import RunDirectory
from spnas.search import runner
from spnas.search.budget import Budget, Ledger
from spnas.search.cluster import ray_cluster
from spnas.search.config import SearchConfig
from spnas.search.objective import Evaluation
from spnas.search.plan import make_plan

SLOTS, TRIALS = 4, 24
PENDING = "TUNE_MAX_PENDING_TRIALS_PG"


@dataclass
class Pieces:
    """So many pieces of work, all alike; it notes who did them, and how many workers Ray Tune may start at a time."""

    run: RunDirectory
    slots: int = SLOTS
    finished: str | None = None
    ledger: Ledger = field(default_factory=lambda: Ledger(Budget.parse("9trials"), SLOTS))
    running: dict[str, Any] = field(default_factory=dict)
    processes: list[int | None] = field(default_factory=list)
    starting: set[str | None] = field(default_factory=set)

    def start(self, key: str) -> Any:
        self.starting.add(os.environ.get(PENDING))
        if len(self.running) + len(self.processes) == TRIALS:
            self.finished = "all is done"
        if self.finished or len(self.running) == self.slots:
            return None
        self.running[key] = SimpleNamespace(task={})
        return self.running[key]

    def goes_on(self, key: str, evaluation: Evaluation) -> bool:
        return True

    def lose(self, key: str, reason: str) -> None:
        raise AssertionError(reason)

    def end(self, key: str, evaluation: Any, error: Any, seconds: float | None = None) -> None:
        del self.running[key]
        self.processes.append(evaluation.params)


def short_trial() -> Any:
    """Give what a worker does instead of a trial; within a function, so that it travels by value."""

    def trial(config: dict[str, Any], **_: Any) -> None:
        from ray import tune

        time.sleep(0.3)
        tune.report({"evaluation": json.dumps({"params": os.getpid()}), "final": True})

    return trial


@pytest.mark.e2e
def test_short_trials_run_on_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Tune by itself calls a worker off that is not up when an older one is free: one or two would do it all."""
    config = SearchConfig(space="resnet20-cifar", budget="9trials", device="cpu", cpus=1)
    plan = replace(make_plan(config), cpus=SLOTS, slots=SLOTS)
    monkeypatch.setattr(runner, "evaluate_trial", short_trial())
    monkeypatch.setenv(PENDING, "7")
    work = Pieces(RunDirectory(tmp_path))
    with ray_cluster(plan):
        runner.run_trials(work, plan.settings(tmp_path), plan, lambda: None)
    assert len(work.processes) == TRIALS
    assert work.starting == {str(SLOTS // 2)}
    assert os.environ[PENDING] == "7"  # as it was
    assert len(set(work.processes)) == SLOTS
