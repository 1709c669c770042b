"""A search's bookkeeping in processes that are killed at random moments: real study, real tables, trials by formula."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from spnas.architecture import Architecture
from spnas.runs import RunDirectory, TrialRecord, read_records
from spnas.search.budget import Budget, Ledger
from spnas.search.coordinator import Coordinator
from spnas.search.objective import Evaluation
from spnas.search.scheduler import RungRule
from spnas.search.seeds import seed_architectures
from spnas.search.spending import spent_so_far
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace, load_space

LIVES, TRIALS, SLOTS = 20, 50, 3


@pytest.fixture(scope="module")
def large_space() -> SearchSpace:
    """More architectures than are looked at."""
    return load_space("resnet20-cifar")


def figures(architecture: Architecture, epochs: int) -> Evaluation:
    """An accuracy and a latency that depend on the architecture alone."""
    rng = np.random.default_rng(int(architecture.id, 16))
    accuracy, latency = (float(x) for x in rng.random(2))
    return Evaluation(
        epochs=epochs,
        scores={"top1": accuracy},
        latency_ms=1 + latency,
        latency_ratio=(1 + latency) / 2,
        params=1000,
        macs=2000,
        train_s=1.0,
    )


def sitting(path: Path, space: SearchSpace, tell: Callable[[], object] = lambda: None) -> None:
    """What a search does between two kills, less the training; tells before and after each trial's end."""
    run = RunDirectory.open(path)
    with run.hold():
        study = SearchStudy(run.study, space, "top1", seed=0, sampler="random")
        study.enqueue(seed_architectures(space))
        study.recover()
        ledger = Ledger(Budget.parse(f"{TRIALS}trials"), 2.0, spent=spent_so_far(study))
        coordinator = Coordinator(
            run,
            study,
            ledger,
            RungRule((1,), grace=4),
            score_columns=("top1",),
            sites=tuple(site.name for site in space.sites),
            slots=SLOTS,
            devices_per_trial=1.0,
            again=2.0,
            clock=time.monotonic,
        )
        coordinator.save()
        keys = iter(map(str, range(10 * TRIALS)))
        while coordinator.running or not coordinator.finished:
            while coordinator.start(next(keys)) is not None:
                pass
            tell()
            if coordinator.running:
                step(coordinator)
            tell()
        study.close()


def step(coordinator: Coordinator) -> None:
    """Let one of the running trials end, by its rung or at its end."""
    key = random.choice(list(coordinator.running))
    architecture = coordinator.running[key].proposal.architecture
    if coordinator.goes_on(key, figures(architecture, epochs=1)):
        coordinator.end(key, figures(architecture, epochs=2), None)
    else:
        coordinator.end(key, None, None)


def live(path: Path, space: SearchSpace, moment: int, seconds: float) -> None:
    """Run a sitting in a process of its own and kill it that long after a moment that it tells of."""
    heard, told = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside torch's threads
        process = os.fork()
    if process == 0:
        try:
            sitting(path, space, lambda: os.write(told, b"."))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(told)
    for _ in range(moment):
        os.read(heard, 1)  # nothing more where it has ended
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(heard)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0


def look(path: Path, space: SearchSpace) -> tuple[list[TrialRecord], float]:
    """Read what a killed sitting left: the study's records, and what is spent."""
    study = SearchStudy(path / "study.db", space, "top1", seed=0, sampler="random")
    found = study.records, spent_so_far(study)
    study.close()
    return found


def test_nothing_is_lost_in_twenty_kills(tmp_path: Path, large_space: SearchSpace) -> None:
    rng = random.Random()  # other moments each time
    run = RunDirectory.create(tmp_path, "run")
    run.config.write_text("space: resnet20-cifar\nbudget: 1m\n")
    records: list[TrialRecord] = []
    spent = 0.0
    for _ in range(LIVES):
        live(run.path, large_space, rng.randrange(8), rng.uniform(0, 0.03))
        before = records
        records, now_spent = look(run.path, large_space)
        assert records[: len(before)] == before  # kept exactly, in their order
        assert now_spent >= spent
        spent = now_spent
        # The table is the study's, or lacks what was kept in the moment of the kill.
        table = read_records(run.trials) if run.trials.exists() else []
        assert [r.trial for r in table] == [r.trial for r in records[: len(table)]]
        assert len(table) >= len(records) - 1
    assert records
    sitting(run.path, large_space)
    check_whole(run, large_space, records)


def check_whole(run: RunDirectory, space: SearchSpace, before: list[TrialRecord]) -> None:
    """Assert that a run is what it would be had nobody killed it."""
    records, _ = look(run.path, space)
    assert records[: len(before)] == before
    assert sorted(r.trial for r in records) == list(range(TRIALS))
    assert len({r.architecture for r in records}) == TRIALS
    for record in records:
        again = figures(record.architecture, int(record.epochs))
        assert (record.scores, record.latency_ms) == (again.scores, again.latency_ms)
    assert [(r.trial, r.state, r.scores) for r in read_records(run.trials)] == [
        (r.trial, r.state, r.scores) for r in records
    ]
    study = optuna.load_study(study_name="spnas", storage=f"sqlite:///{run.study}")
    kept = {t.user_attrs["trial"]: t for t in study.trials if "record" in t.user_attrs}
    assert not [t for t in study.trials if t.state == TrialState.RUNNING]
    for record in records:
        told = kept[record.trial]
        complete = record.state == "complete"
        assert told.state == (TrialState.COMPLETE if complete else TrialState.PRUNED)
        if complete:
            assert told.values == [record.scores["top1"], record.latency_ms]


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")
    with run.hold():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
        if process == 0:
            try:
                with RunDirectory(run.path).hold():
                    os._exit(1)
            except BaseException as error:
                os._exit(0 if "under way in another process" in str(error) else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    with run.hold():
        pass
