"""The storage that answers from memory: Optuna's own suite for storages, and always what is on disk."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import InMemoryStorage, get_storage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState, create_trial

from spnas.search.single_writer import SingleWriterStorage
from spnas.search.storage import open_storage

BOTH = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
SITE = CategoricalDistribution(["regular", "ghost:0.5", "spconv:0.25"])


def opened(path: Path) -> SingleWriterStorage:
    return SingleWriterStorage(get_storage(open_storage(path)))


class TestAsOptunaExpects(StorageTestCase):
    """All that Optuna asks of a storage; before one in memory, as a file for each test takes time."""

    test_pickle_storage = None  # it stays in the process that holds the run

    @pytest.fixture
    def storage(self) -> SingleWriterStorage:
        return SingleWriterStorage(InMemoryStorage())


def change(storage: SingleWriterStorage, study: int, rng: random.Random) -> None:
    """Do one of the things that a search does to its study."""
    going = [
        trial
        for trial in storage.get_all_trials(study, deepcopy=False)
        if not trial.state.is_finished()
    ]
    if len(going) < 3:
        enqueued = create_trial(
            state=TrialState.WAITING, system_attrs={"fixed_params": {"conv1": "ghost:0.5"}}
        )
        storage.create_new_trial(study, rng.choice([None, enqueued]))
        return
    trial = rng.choice(going)
    number = trial._trial_id
    match rng.randrange(6):
        case 0 if (name := f"conv{rng.randrange(3)}") not in trial.params:
            storage.set_trial_param(number, name, rng.randrange(3), SITE)
        case 1:
            storage.set_trial_user_attr(number, f"rung:{rng.randrange(3)}", (rng.random(), 4.5))
        case 2:
            storage.set_trial_system_attr(number, "constraints", {"latency": rng.random()})
        case 3 if trial.state == TrialState.RUNNING:
            storage.set_trial_state_values(number, TrialState.WAITING)
        case 4 if trial.state == TrialState.RUNNING:
            state = rng.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            values = [0.5, 3.0] if state == TrialState.COMPLETE else None
            storage.set_trial_state_values(number, state, values)
        case 5 if trial.state == TrialState.WAITING:
            assert storage.set_trial_state_values(number, TrialState.RUNNING)
        case _:
            storage.set_study_user_attr(study, "spent", [rng.random(), None])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_in_memory_is_what_is_on_disk(tmp_path: Path, seed: int) -> None:
    storage, rng = opened(tmp_path / "study.db"), random.Random(seed)
    study = storage.create_new_study(BOTH, "spnas")
    for step in range(120):
        change(storage, study, rng)
        if step % 20 == 19:
            disk = open_storage(tmp_path / "study.db")
            assert storage.get_all_trials(study) == disk.get_all_trials(study)
            assert storage.get_study_user_attrs(study) == disk.get_study_user_attrs(study)
            again = opened(tmp_path / "study.db")
            assert again.get_all_trials(study) == disk.get_all_trials(study)
    assert sum(trial.state.is_finished() for trial in storage.get_all_trials(study)) > 0


def test_what_was_read_does_not_change(tmp_path: Path) -> None:
    """Samplers hold the trials they were given while others are told."""
    study = optuna.create_study(storage=opened(tmp_path / "study.db"), directions=["maximize"])
    trial = study.ask({"conv1": SITE})
    (before,) = study.get_trials(deepcopy=False)
    study._storage.set_trial_user_attr(trial._trial_id, "rung:1", 0.5)
    study.tell(trial, 0.5)
    assert (before.state, before.user_attrs) == (TrialState.RUNNING, {})
    (after,) = study.trials
    assert (after.state, after.user_attrs) == (TrialState.COMPLETE, {"rung:1": 0.5})
