"""Operators prepared before the trials, as the driver follows it; only Ray, the process boundary, is replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spnas.architecture import Architecture, Choice
from spnas.errors import SpnasError, WorkerLostError
from spnas.networks import get_network
from spnas.runs import RunDirectory
from spnas.search import runner
from spnas.search.budget import Budget, Ledger
from spnas.search.config import SearchConfig
from spnas.search.library import prepare_library
from spnas.search.objective import Evaluator
from spnas.search.plan import make_plan
from spnas.search.preparation import prepare_operators, save_weights
from spnas.search.spending import spent_so_far
from spnas.search.study import SearchStudy
from spnas.training import Library

SITE, GHOST = "layer3.2.conv2", Choice.parse("ghost:0.5")


class Phase:
    """A run up to its library; the worker takes 30 seconds on a clock of its own."""

    def __init__(self, folder: Path, budget: str = "20m", **options: Any) -> None:
        self.now, self.limits = 0.0, []
        self.gives: bool | SpnasError = True
        config = {"space": "resnet20-cifar", "budget": budget, "device": "cpu", "cpus": 2}
        self.plan = make_plan(SearchConfig(**config, **options))
        self.run = RunDirectory.create(folder, "run")
        self.study = SearchStudy(self.run.study, self.plan.space, "top1", seed=0)
        self.ledger = Ledger(Budget.parse(budget), 2, clock=lambda: self.now)

    def work(self, _settings: Any, _plan: Any, path: Path, limit_s: float) -> Iterator[bool | None]:
        self.limits.append(limit_s)
        for _ in range(3):
            self.now += 10
            yield None
        if isinstance(self.gives, SpnasError):
            raise self.gives
        if self.gives:
            Library({}).save(path)
        yield self.gives

    def prepare(self) -> Path | None:
        return prepare_library(self.run, self.plan, self.study, self.ledger)


def phase(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> Phase:
    made = Phase(*args, **options)
    monkeypatch.setattr(runner, "run_library", made.work)
    monkeypatch.setattr(logging.getLogger("spnas"), "propagate", True)
    return made


@pytest.mark.parametrize("inherit", ["fitted", "library"])
def test_is_made_once_within_its_share_and_charged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inherit: str
) -> None:
    run = phase(monkeypatch, tmp_path, inherit=inherit, library_share=0.1)
    run.now = 200.0
    made = run.prepare()
    assert made is not None
    assert Library.load(made) == Library({})
    assert run.limits == [pytest.approx(100.0)]
    assert spent_so_far(run.study) == 2 * 230
    assert run.prepare() == made  # as a resumed search does
    assert len(run.limits) == 1


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        (False, "it takes more than 240 s, 0.2 of what is left"),
        (SpnasError("no gradient"), "no gradient"),
    ],
)
def test_one_that_is_given_up_is_told_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    gives: bool | SpnasError,
    told: str,
) -> None:
    run = phase(monkeypatch, tmp_path, inherit="library")
    run.gives = gives
    with caplog.at_level(logging.INFO, "spnas"):
        assert run.prepare() is None
        assert run.prepare() is None
    assert len(run.limits) == 1
    line = f"operator library: given up: {told}; trials start from inherited weights"
    assert line in caplog.text


def test_after_a_workers_death_a_later_sitting_tries_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = phase(monkeypatch, tmp_path)
    run.gives = WorkerLostError("the operator library: OutOfMemoryError: 2 GiB")
    with caplog.at_level(logging.INFO, "spnas"):
        assert run.prepare() is None
    assert "operator library: lost: the operator library: OutOfMemoryError" in caplog.text
    run.gives = True
    monkeypatch.setattr(SearchStudy, "records", ["a trial that started without"])
    assert run.prepare() is None
    monkeypatch.setattr(SearchStudy, "records", [])
    assert run.prepare() == run.run.library


def test_weights_in_closed_form_need_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = phase(monkeypatch, tmp_path, inherit="weights")
    assert run.prepare() is None
    assert run.limits == []


def test_trials_start_from_what_was_prepared(tmp_path: Path) -> None:
    run = Phase(tmp_path, inherit="fitted")
    torch.manual_seed(0)
    save_weights(get_network("resnet20-cifar").build(10), run.run.base_weights)
    settings = run.plan.settings(run.run.base_weights, library=run.run.library)
    assert prepare_operators(settings, {SITE: (GHOST,)}, 0, run.run.library, 1e9)
    operator = Evaluator(settings).assemble(Architecture({SITE: GHOST})).get_submodule(SITE)
    state = Library.load(run.run.library).states[f"{SITE}|{GHOST}"]
    assert all(torch.equal(state[name], value) for name, value in operator.state_dict().items())
