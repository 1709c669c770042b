"""The latency table's phase as the driver follows it; only Ray, the process boundary, is replaced."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spnas.architecture import REGULAR, Choice
from spnas.latency import LatencyTable, LayerTimes
from spnas.runs import RunDirectory
from spnas.search import runner
from spnas.search.budget import Budget, Ledger
from spnas.search.config import SearchConfig
from spnas.search.coordinator import spent_so_far
from spnas.search.plan import make_plan
from spnas.search.run import _line_up
from spnas.search.study import SearchStudy
from spnas.search.table import prepare_table

GHOST = Choice.parse("ghost:0.5")
TABLE = LatencyTable(
    0.01,
    {"conv1": {REGULAR: LayerTimes(0.001, {"default": 0.001}), GHOST: LayerTimes(0.001, {"x": 2})}},
)


class Phase:
    """A run up to its latency table; the worker takes 30 seconds on a clock of its own."""

    def __init__(self, folder: Path, budget: str, **options: Any) -> None:
        self.now, self.limits, self.gives = 0.0, [], TABLE
        config = {"space": "resnet20-cifar", "budget": budget, "device": "cpu", "cpus": 2}
        self.plan = make_plan(SearchConfig(**config, **options))
        self.run = RunDirectory.create(folder, "run")
        self.study = SearchStudy(self.run.study, self.plan.space, "top1", seed=0)
        self.ledger = Ledger(Budget.parse(budget), 2, clock=lambda: self.now)

    def work(
        self, _settings: Any, _plan: Any, limit_s: float, _bench: Any
    ) -> Iterator[tuple[LatencyTable | None] | None]:
        self.limits.append(limit_s)
        for _ in range(3):
            self.now += 10
            yield None
        yield (self.gives,)

    def prepare(self) -> LatencyTable | None:
        return prepare_table(self.run, self.plan, self.study, self.ledger)


def phase(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Phase:
    made = Phase(*args, **options)
    monkeypatch.setattr(runner, "run_table", made.work)
    return made


def test_is_measured_within_its_share_charged_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = phase(monkeypatch, tmp_path, "20m", table_share=0.1)
    run.now = 200.0
    assert run.prepare() is TABLE
    assert run.limits == [pytest.approx(100.0)]
    assert spent_so_far(run.study) == 2 * 230
    again = run.prepare()  # as a resumed search does
    assert again is not None
    assert again.times["conv1"][GHOST] == TABLE.times["conv1"][GHOST]
    assert len(run.limits) == 1


def test_one_that_takes_too_long_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = phase(monkeypatch, tmp_path, "20m")
    run.gives = None
    logger = logging.getLogger("spnas")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, "spnas"):
        assert run.prepare() is None
    assert "latency table: given up" in caplog.text
    assert not run.run.latency_table.exists()


@pytest.mark.parametrize(
    ("budget", "share", "limits"),
    [("5trials", 0.05, [math.inf]), ("5trials", 0, []), ("1h", 0, [])],
)
def test_trials_set_no_limit_and_no_share_means_no_table(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    budget: str,
    share: float,
    limits: list[float],
) -> None:
    run = phase(monkeypatch, tmp_path, budget, table_share=share)
    run.prepare()
    assert run.limits == limits


def test_the_first_trials_are_lined_up_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = phase(monkeypatch, tmp_path, "20m")
    _line_up(run.study, run.plan, None)
    first = run.study.propose()
    assert first is not None
    assert first.architecture.is_base
    waiting = len(run.study._study.trials)
    _line_up(run.study, run.plan, None)
    assert len(run.study._study.trials) == waiting
