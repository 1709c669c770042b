"""What a run's Optuna study keeps on disk: the only truth about its trials.

Every spnas trial is one Optuna trial with the record in its user attributes; trials.csv and the front are derived from
them. Values are told for complete trials only, so that Optuna's own Pareto set never holds a stopped one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from spnas.architecture import Architecture
from spnas.errors import RunError
from spnas.runs import TrialRecord
from spnas.runs.records import Origin, State
from spnas.search.limits import Limits
from spnas.search.single_writer import SingleWriterStorage
from spnas.search.storage import open_storage, record_from_json, record_to_json

_STUDY_NAME = "spnas"
_CONFIRMATION = "confirmation:"
_OPTUNA_STATE: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.PRUNED,  # TPE and our own sampler learn from these, not from failed ones
}


def _ended(trial: FrozenTrial) -> datetime:
    """Sort key: the moment of its end; what was killed between keeping the record and telling it ended last."""
    return trial.datetime_complete or datetime.max


@dataclass(frozen=True)
class Proposal:
    """An architecture to evaluate.

    Attributes:
        trial: The trial's number, the base network being 0.
        key: The study's own number of it.
        architecture: What to evaluate.
        origin: Where it came from.
    """

    trial: int
    key: int
    architecture: Architecture
    origin: Origin

    @property
    def task(self) -> dict[str, Any]:
        """What a worker is given."""
        return {"trial": self.trial, "architecture": self.architecture.text}


class KeptTrials:
    """Keeps the trials' records, and facts about the run, on disk.

    Args:
        path: The study's file; made where it does not exist.
        metric: Column of the accuracy to maximize; latency is minimized.

    Attributes:
        limits: What candidates may cost, known once the base network is measured.
    """

    def __init__(self, path: Path, metric: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path = path
        self._metric = metric
        self._backend = open_storage(path)
        # Optuna's wrapper knows distributions, which the bare one would look up for each parameter.
        self._storage = SingleWriterStorage(optuna.storages.get_storage(self._backend))
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY_NAME,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        self.limits = Limits()
        self._records: dict[int, TrialRecord] = {}
        self._known: dict[Architecture, TrialRecord | None] = {}
        self._next = 0
        for trial in sorted(self._study.get_trials(deepcopy=False), key=_ended):
            self._next = max(self._next, trial.user_attrs.get("trial", -1) + 1)
            if "record" in trial.user_attrs:
                self._remember(record_from_json(trial.user_attrs["record"]))

    @property
    def records(self) -> list[TrialRecord]:
        """The records of all ended trials, in order of completion."""
        return list(self._records.values())

    def get(self, name: str) -> Any:
        """Give a fact about the run, None where it is not known."""
        return self._study.user_attrs.get(name)

    def set(self, name: str, value: Any) -> None:
        """Keep a fact about the run: anything JSON can hold."""
        self._study.set_user_attr(name, value)

    def confirmations(self) -> dict[tuple[int, int], TrialRecord]:
        """Give the re-evaluations by the trial's number and the seed's, in order of completion."""
        found: dict[tuple[int, int], TrialRecord] = {}
        for name, value in self._study.user_attrs.items():
            if name.startswith(_CONFIRMATION):
                trial, seed = name.removeprefix(_CONFIRMATION).split(":")
                found[int(trial), int(seed)] = record_from_json(value)
        return dict(sorted(found.items(), key=lambda one: (one[1].finished or "", one[0][::-1])))

    def keep_confirmation(self, seed: int, record: TrialRecord) -> None:
        """Keep a re-evaluation."""
        self.set(f"{_CONFIRMATION}{record.trial}:{seed}", record_to_json(record))

    def _remember(self, record: TrialRecord) -> None:
        self._records[record.trial] = record
        self._known[record.architecture] = record

    def note_rung(self, proposal: Proposal, epochs: int, accuracy: float, latency: float) -> None:
        """Keep what a running trial has at a rung, so that a resumed search compares with it."""
        trial_id = self._id_of(proposal.key)
        self._storage.set_trial_user_attr(trial_id, f"rung:{epochs}", [accuracy, latency])

    def rungs(self) -> Iterator[tuple[int, int, float, float]]:
        """Iterate over `(trial, epochs, accuracy, latency)` of every rung ever reached."""
        for trial in self._study.get_trials(deepcopy=False):
            for name, value in trial.user_attrs.items():
                if name.startswith("rung:"):
                    yield trial.user_attrs["trial"], int(name[5:]), value[0], value[1]

    def record(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep an ended trial's record and tell the sampler."""
        trial_id = self._id_of(proposal.key)
        self._storage.set_trial_user_attr(trial_id, "record", record_to_json(record))
        self._tell(proposal.key, record)
        self._remember(record)

    def _tell(self, key: int, record: TrialRecord) -> None:
        values = self._values(record) if record.state == "complete" else None
        state = _OPTUNA_STATE[record.state]
        if not self._storage.get_trial(self._id_of(key)).params:
            values, state = None, TrialState.FAIL  # a base outside the space: none to learn from
        elif record.state == "infeasible":
            self._constrain(key, record)
        self._study.tell(key, values=values, state=state)

    def _constrain(self, key: int, record: TrialRecord) -> None:
        """Tell the sampler by how much a trial exceeds each limit; it takes those that exceed least for better."""
        trial = optuna.trial.Trial(self._study, self._id_of(key))
        for name, excess in self.limits.exceeded(record).items():
            if name not in trial.constraints:  # a killed process may have told it
                trial.set_constraint(name, excess)

    def _id_of(self, key: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, key)

    def _values(self, record: TrialRecord) -> list[float]:
        if record.latency_ms is None:
            raise RunError(f"trial {record.trial} is complete but has no latency")
        return [record.scores[self._metric], record.latency_ms]

    def recover(self) -> int:
        """Put back, at its place in the queue, what was under way when an earlier sitting ended; give how many."""
        lost = 0
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state != TrialState.RUNNING:
                continue
            if "record" in trial.user_attrs:  # killed between keeping the record and telling it
                self._tell(trial.number, record_from_json(trial.user_attrs["record"]))
                continue
            self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            lost += 1
        return lost

    def retry(self, proposal: Proposal) -> bool:
        """Put a trial under way back at its place in the queue; False where that was done before."""
        trial_id = self._id_of(proposal.key)
        if self._storage.get_trial(trial_id).user_attrs.get("retried"):
            return False
        self._storage.set_trial_user_attr(trial_id, "retried", True)
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
        self._known.pop(proposal.architecture, None)
        return True

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._backend.remove_session()
        self._backend.engine.dispose()
