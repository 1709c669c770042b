"""What is learnt before any trial, as the driver follows it; only Ray, the process boundary, is replaced."""

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
from spnas.search.knowledge import Knowledge, nothing_to_gain, prepare_knowledge
from spnas.search.limits import Limits
from spnas.search.plan import make_plan
from spnas.search.run import _line_up
from spnas.search.spending import spent_so_far
from spnas.search.study import SearchStudy

GHOST = Choice.parse("ghost:0.5")
TABLE = LatencyTable(
    0.01,
    {"conv1": {REGULAR: LayerTimes(0.001, {"default": 0.001}), GHOST: LayerTimes(0.001, {"x": 2})}},
)

SCORES = {"conv1": {REGULAR: 0.0, GHOST: -0.25}}


class Phase:
    """A run up to its latency table; the worker takes 30 seconds on a clock of its own."""

    def __init__(self, folder: Path, budget: str, **options: Any) -> None:
        self.now, self.limits = 0.0, []
        self.gives: tuple[LatencyTable | None, Any] = TABLE, SCORES
        config = {"space": "resnet20-cifar", "budget": budget, "device": "cpu", "cpus": 2}
        self.plan = make_plan(SearchConfig(**config, **options))
        self.run = RunDirectory.create(folder, "run")
        self.study = SearchStudy(self.run.study, self.plan.space, "top1", seed=0)
        self.ledger = Ledger(Budget.parse(budget), 2, clock=lambda: self.now)

    def work(
        self, _settings: Any, _plan: Any, limit_s: float, _bench: Any
    ) -> Iterator[tuple[LatencyTable | None, Any] | None]:
        self.limits.append(limit_s)
        for _ in range(3):
            self.now += 10
            yield None
        yield self.gives

    def prepare(self) -> Knowledge:
        return prepare_knowledge(self.run, self.plan, self.study, self.ledger)


def phase(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Phase:
    made = Phase(*args, **options)
    monkeypatch.setattr(runner, "run_knowledge", made.work)
    return made


def test_is_measured_within_its_share_charged_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = phase(monkeypatch, tmp_path, "20m", table_share=0.1)
    run.now = 200.0
    assert run.prepare() == Knowledge(TABLE, SCORES)
    assert run.limits == [pytest.approx(100.0)]
    assert spent_so_far(run.study) == 2 * 230
    again = run.prepare()  # as a resumed search does
    assert again.table is not None
    assert again.table.times["conv1"][GHOST] == TABLE.times["conv1"][GHOST]
    assert again.scores == SCORES
    assert len(run.limits) == 1


def test_one_that_takes_too_long_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = phase(monkeypatch, tmp_path, "20m")
    run.gives = None, SCORES
    logger = logging.getLogger("spnas")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, "spnas"):
        assert run.prepare() == Knowledge(None, SCORES)
    assert "latency table: given up" in caplog.text
    assert not run.run.latency_table.exists()


def test_an_operator_that_has_no_score_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = phase(monkeypatch, tmp_path, "20m")
    run.gives = TABLE, "RuntimeError: no gradient"
    monkeypatch.setattr(logging.getLogger("spnas"), "propagate", True)
    with caplog.at_level(logging.INFO, "spnas"):
        assert run.prepare() == Knowledge(TABLE, None)
    assert "the choices have no scores: RuntimeError: no gradient" in caplog.text
    assert not run.run.scores.exists()


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
    _line_up(run.study, run.plan, Knowledge())
    first = run.study.propose()
    assert first is not None
    assert first.architecture.is_base
    waiting = len(run.study._study.trials)
    _line_up(run.study, run.plan, Knowledge())
    assert len(run.study._study.trials) == waiting


@pytest.mark.parametrize(
    ("price", "limits", "told"),
    [
        (1.3, Limits(latency_ratio=1.0), True),  # as on a GPU, whose plain convolutions are fastest
        (0.7, Limits(latency_ratio=1.0), False),
        (1.3, Limits(latency_ratio=1.5), False),
    ],
)
def test_a_search_that_cannot_gain_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, price: float, limits: Limits, told: bool
) -> None:
    run = phase(monkeypatch, tmp_path, "20m")
    run.study.limits = limits
    times = {
        site: {
            choice: LayerTimes(1e-4, {"x": 1e-4 * (1 if choice == REGULAR else price)})
            for choice in choices
        }
        for site, choices in run.plan.space.choices.items()
    }
    run.study.inform(LatencyTable(0.01, times), None)
    reason = nothing_to_gain(run.study, run.plan)
    assert (reason is not None) == told
    if reason:
        assert "runtime onnxruntime at batch 32" in reason
        assert "foretells is 1.00 of the base's latency" in reason
