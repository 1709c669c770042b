"""A study's storage for a process that is the only one to write to it: every read is answered from memory."""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy


class SingleWriterStorage(BaseStorage):
    """Writes through to another storage and keeps a copy of what is there.

    Optuna's own cache reads every unfinished trial anew, with all its parameters, several times a suggestion, since
    another process may have changed it: with 64 trials of 39 parameters under way that was most of a suggestion's time.
    A run directory is held by one process, so nobody else can have.

    What is kept is never changed but replaced, as readers may hold it. To be used by one thread at a time.

    Args:
        backend: Where studies are kept.
    """

    def __init__(self, backend: BaseStorage) -> None:
        self._backend = backend
        self._trials: dict[int, dict[int, FrozenTrial]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._study_attrs: dict[int, dict[str, Any]] = {}
        for study in backend.get_all_studies():
            self._study_attrs[study._study_id] = dict(study.user_attrs)
            self._trials[study._study_id] = {}
            for trial in backend.get_all_trials(study._study_id, deepcopy=False):
                self._put(study._study_id, trial)

    def _put(self, study_id: int, trial: FrozenTrial) -> None:
        self._trials[study_id][trial.number] = trial
        self._places[trial._trial_id] = study_id, trial.number

    def _replace(self, trial_id: int, **changes: dict[str, Any]) -> None:
        """Keep a trial with some of its attributes extended."""
        study_id, _ = self._places[trial_id]
        trial = copy.copy(self.get_trial(trial_id))
        for name, more in changes.items():
            setattr(trial, name, {**getattr(trial, name), **more})
        self._put(study_id, trial)

    # -- studies ---------------------------------------------------------------------------------

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Make a study; give its number."""
        study_id = self._backend.create_new_study(directions, study_name)
        self._trials[study_id], self._study_attrs[study_id] = {}, {}
        return study_id

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""
        self._backend.delete_study(study_id)
        for trial in self._trials.pop(study_id).values():
            del self._places[trial._trial_id]
        del self._study_attrs[study_id]

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keep a fact about a study."""
        self._backend.set_study_user_attr(study_id, key, value)
        self._study_attrs[study_id] = {**self._study_attrs[study_id], key: _as_read(value)}

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Give the facts about a study."""
        return self._study_attrs[study_id]

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keep a fact of Optuna's about a study."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Give Optuna's facts about a study."""
        return self._backend.get_study_system_attrs(study_id)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Give a study's number."""
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Give a study's name."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Give the directions of a study's objectives."""
        return self._backend.get_study_directions(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Give all studies."""
        return self._backend.get_all_studies()

    # -- trials ----------------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Make a trial; give its number in the storage."""
        trial_id = self._backend.create_new_trial(study_id, template_trial)
        self._put(study_id, self._backend.get_trial(trial_id))
        return trial_id

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Keep a parameter of a trial."""
        self._backend.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        value = distribution.to_external_repr(param_value_internal)
        self._replace(
            trial_id, params={param_name: value}, distributions={param_name: distribution}
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Change a trial's state; False where it is not the one to start it."""
        done = self._backend.set_trial_state_values(trial_id, state, values)
        study_id, _ = self._places[trial_id]
        self._put(study_id, self._backend.get_trial(trial_id))
        return done

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Keep what a trial had at a step."""
        self._backend.set_trial_intermediate_value(trial_id, step, intermediate_value)
        study_id, _ = self._places[trial_id]
        self._put(study_id, self._backend.get_trial(trial_id))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a fact about a trial."""
        self._backend.set_trial_user_attr(trial_id, key, value)
        self._replace(trial_id, user_attrs={key: _as_read(value)})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a fact of Optuna's about a trial."""
        self._backend.set_trial_system_attr(trial_id, key, value)
        self._replace(trial_id, system_attrs={key: _as_read(value)})

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Give a trial's number in the storage."""
        return self._trials[study_id][trial_number]._trial_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Give a trial."""
        study_id, number = self._places[trial_id]
        return self._trials[study_id][number]

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Give a study's trials, or those in some states, by their numbers."""
        found = [
            trial
            for trial in self._trials[study_id].values()
            if states is None or trial.state in states
        ]
        return copy.deepcopy(found) if deepcopy else found

    def remove_session(self) -> None:
        """End the connections to the backend."""
        self._backend.remove_session()


def _as_read(value: Any) -> Any:
    """Give a value as it will be read from JSON."""
    return json.loads(json.dumps(value))
