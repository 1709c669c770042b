"""The base's training as the driver follows it; only Ray, the process boundary, is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spnas.errors import BudgetError
from spnas.runs import RunDirectory
from spnas.search import base as base_phase
from spnas.search import runner
from spnas.search.base import expect_first_trial, prepare_base
from spnas.search.budget import Budget, Ledger
from spnas.search.config import SearchConfig
from spnas.search.plan import Plan, make_plan
from spnas.search.spending import costs_by_phase, keep_spent, open_ledger, spent_so_far
from spnas.search.study import SearchStudy

Prepare = Callable[[str], dict[str, Any]]
FACTS = {
    "scores": {"top1": 0.9},
    "train_s": 40.0,
    "trial_train_s": None,
    "latency_ms": 3.0,
    "latency_std_ms": 0.1,
    "latency_warning": None,
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """A search on the embedded digits with a base of four epochs."""
    return make_plan(
        SearchConfig(space="resnet20-cifar", budget="1h", device="cpu", cpus=2, base_epochs=4)
    )


class Worker:
    """Stands for the worker: ten seconds an epoch on a clock of its own, with a sign of life in between."""

    def __init__(self) -> None:
        self.now = 0.0
        self.epochs = self.done_before = 0
        self.epoch_s = 10.0

    def run(self, *_: Any) -> Iterator[tuple[int, float] | dict[str, Any] | None]:
        for epoch in range(self.done_before + 1, 5):
            self.now += self.epoch_s / 2
            yield None
            self.now += self.epoch_s / 2
            self.epochs = epoch
            yield epoch, 1 / epoch
        self.now += self.epoch_s - 10
        yield None
        yield FACTS


@pytest.fixture
def made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan
) -> tuple[Worker, SearchStudy, Callable[[str], dict[str, Any]]]:
    worker = Worker()
    monkeypatch.setattr(runner, "run_base", worker.run)
    monkeypatch.setattr(base_phase.time, "monotonic", lambda: worker.now)
    run = RunDirectory.create(tmp_path, "run")
    study = SearchStudy(run.study, plan.space, "top1", seed=0)

    def prepare(budget: str) -> dict[str, Any]:
        ledger = Ledger(Budget.parse(budget), 2, clock=lambda: worker.now)
        return prepare_base(run, plan, study, ledger)

    return worker, study, prepare


def test_a_budget_that_suffices_prepares_the_base(
    made: tuple[Worker, SearchStudy, Prepare],
) -> None:
    _, study, prepare = made
    assert prepare("90s") == FACTS == study.get("base")
    assert spent_so_far(study) == 80


def test_a_disturbed_latency_of_the_base_is_told(
    made: tuple[Worker, SearchStudy, Prepare],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(FACTS, "latency_warning", "another process")
    made[2]("90s")
    assert "base network: latency: another process" in caplog.messages


def test_gives_up_once_the_training_is_known_to_outlast_the_budget(
    made: tuple[Worker, SearchStudy, Prepare],
) -> None:
    worker, study, prepare = made
    with pytest.raises(
        BudgetError,
        match=r"'35s' .*: 2 of its 4 epochs, about 20 s, and the trial, 20 s, are to come, 15 s are left",
    ):
        prepare("35s")
    assert worker.epochs == 2  # the second epoch tells how long an epoch takes
    assert spent_so_far(study) == 40
    assert study.get("base") is None


def test_a_training_that_goes_on_takes_as_long_as_its_own_epochs_say(
    made: tuple[Worker, SearchStudy, Prepare],
) -> None:
    worker, _, prepare = made
    worker.done_before = 2
    assert prepare("45s") == FACTS  # two epochs of ten seconds, and a trial of twenty


def test_a_first_trial_that_does_not_fit_is_refused_in_every_sitting(
    made: tuple[Worker, SearchStudy, Prepare],
) -> None:
    """What was found on its own threads counts, though two epochs on both of them take twenty seconds."""
    worker, study, _ = made
    base = {**FACTS, "trial_train_s": 35.0}
    for budget, fits in (("36s", True), ("34s", False)):
        ledger = Ledger(Budget.parse(budget), 2, clock=lambda: worker.now)
        if fits:
            expect_first_trial(ledger, base)
            assert ledger.trial_seconds == 35
            continue
        with pytest.raises(
            BudgetError, match=r"'34s' .* takes about 35 s, 34 s are left; .* --resume"
        ):
            expect_first_trial(ledger, base)
    ledger = open_ledger(study, Budget.parse("1trials"), 2.0, counts_gpus=False)
    expect_first_trial(ledger, base)
    expect_first_trial(Ledger(Budget.parse("1s"), 2), FACTS)  # nothing is known


def test_long_epochs_are_told_of(
    made: tuple[Worker, SearchStudy, Prepare], caplog: pytest.LogCaptureFixture
) -> None:
    worker, _, prepare = made
    worker.epoch_s = 70
    with caplog.at_level("INFO", logger="spnas"):
        prepare("1h")
    told = [line for line in caplog.messages if "under way" in line]
    assert told[0] == "base network: under way: the first epoch | 0.6 of 60 min"
    assert told[4].startswith("base network: under way: scored and measured")


@pytest.mark.parametrize(("budget", "left_s"), [("45m", 35 * 60), ("90cpu-min", 25 * 60)])
def test_a_run_goes_on_with_other_devices(
    budget: str, left_s: float, made: tuple[Worker, SearchStudy, Prepare]
) -> None:
    """Ten minutes on four cores, then two: forty core-minutes, but ten minutes of wall time."""
    worker, study, _ = made
    ledger = Ledger(Budget.parse(budget), 4.0, clock=lambda: worker.now)
    worker.now += 600
    keep_spent(study, ledger)
    again = open_ledger(study, ledger.budget, 2.0, counts_gpus=False)
    assert again.seconds_left() == pytest.approx(left_s)


def test_what_gpus_spent_counts_as_cores_where_the_new_budget_counts_those(
    made: tuple[Worker, SearchStudy, Prepare],
) -> None:
    """An hour of one GPU in a machine of sixteen cores, then 20 core-hours: 4 are left, and back."""
    _, study, _ = made
    open_ledger(study, Budget.parse("1gpu-h"), 1.0, counts_gpus=True)
    study.set("spent_device_s", 3600.0)
    study.set("phase_device_s", {"trials": 1800.0})
    cores = open_ledger(study, Budget.parse("20cpu-h"), 16.0, counts_gpus=False)
    assert cores.seconds_left() == pytest.approx(4 * 3600 / 16, abs=5)
    assert costs_by_phase(study, cores)["trials"] == 16 * 1800
    assert spent_so_far(study) == 16 * 3600
    gpus = open_ledger(study, Budget.parse("3gpu-h"), 1.0, counts_gpus=True)
    assert gpus.seconds_left() == pytest.approx(2 * 3600, abs=5)
    more = open_ledger(study, Budget.parse("3gpu-h"), 2.0, counts_gpus=True)  # GPU-hours stay
    assert more.seconds_left() == pytest.approx(3600, abs=5)


def test_a_number_of_trials_never_ends_early(made: tuple[Worker, SearchStudy, Prepare]) -> None:
    _, _, prepare = made
    assert prepare("1trials") == FACTS
