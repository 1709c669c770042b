"""The persistent Optuna study: the only truth about a run's trials.

Every spnas trial is one Optuna trial with the record in its user attributes; trials.csv and the front are derived from
them. Values are told for complete trials only, so that Optuna's own Pareto set never holds a stopped one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.errors import RunError, SpaceExhaustedError
from spnas.latency import LatencyTable
from spnas.runs import TrialRecord
from spnas.runs.records import Origin, State
from spnas.sampler import Floats, LatencyAwareSampler
from spnas.search.config import SamplerName
from spnas.search.limits import Limits
from spnas.search.prediction import LatencyModel
from spnas.search.samplers import make_sampler
from spnas.search.storage import open_storage, record_from_json, record_to_json
from spnas.spaces import SearchSpace
from spnas.training import Scores

_STUDY_NAME = "spnas"
_CONFIRMATION = "confirmation:"
_ASKS_BEFORE_DRAWING = 20
_DRAWS = 1000
_OPTUNA_STATE: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "infeasible": TrialState.PRUNED,  # the sampler learns from pruned trials, not from failed ones
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


class SearchStudy:
    """Asks for architectures and keeps the trials' records, on disk.

    Args:
        path: The study's file; made where it does not exist.
        space: The search space; each of its variables is one flat categorical parameter.
        metric: Column of the accuracy to maximize; latency is minimized.
        seed: Of the sampler.
        sampler: What proposes architectures.

    Attributes:
        limits: What candidates may cost, known once the base network is measured. The sampler's proposals, and seeds,
            that are foretold to be slower are passed over.
        latency_model: What foretells that.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        metric: str,
        seed: int,
        sampler: SamplerName = "latency-aware",
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path = path
        self._space = space
        self._metric = metric
        choices = {name: [str(c) for c in given] for name, given in space.variables.items()}
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(given) for name, given in choices.items()
        }
        self._storage = open_storage(path)
        # A resumed search must not draw what its first sitting drew: the trials it has salt the seed.
        known = optuna.get_all_study_names(self._storage)
        earlier = (
            len(optuna.load_study(study_name=_STUDY_NAME, storage=self._storage).trials)
            if known
            else 0
        )
        self.latency_model = LatencyModel(space)
        self._make_sampler = partial(
            make_sampler, sampler, seed + earlier, choices, self._foretell_ratios
        )
        self._sampler = self._make_sampler()
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY_NAME,
            directions=["maximize", "minimize"],
            sampler=self._sampler,
            load_if_exists=True,
        )
        self._rng = random.Random(seed + earlier)
        self.limits = Limits()
        self._records: dict[int, TrialRecord] = {}
        self._known: dict[Architecture, TrialRecord | None] = {}
        self._next = 0
        for trial in sorted(self._study.get_trials(deepcopy=False), key=_ended):
            self._next = max(self._next, trial.user_attrs.get("trial", -1) + 1)
            if "record" in trial.user_attrs:
                self._remember(record_from_json(trial.user_attrs["record"]))

    def inform(self, table: LatencyTable | None, scores: Scores | None) -> None:
        """Take what is known before any trial: latencies of choices, and the sampler's prior."""
        self.latency_model = LatencyModel(self._space, table)
        prior = None
        if scores is not None:
            tied = {group[0]: group for group in self._space.ties}
            prior = {
                name: {
                    str(choice): sum(scores[site][choice] for site in tied.get(name, (name,)))
                    for choice in choices
                }
                for name, choices in self._space.variables.items()
            }
        self._sampler = self._study.sampler = self._make_sampler(prior)

    def _foretell_ratios(self, many: list[dict[str, str]]) -> Floats:
        return self.latency_model.ratios(many)

    # -- what is known ---------------------------------------------------------------------------

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

    # -- proposing -------------------------------------------------------------------------------

    def enqueue(self, architectures: Sequence[tuple[Architecture, Origin]]) -> None:
        """Put architectures before the sampler's own proposals, in this order.

        The base network may lie outside the space (a site without `regular`): it is evaluated all the same. One that
        is in the study already is left out.
        """
        there = {
            trial.user_attrs.get("architecture") for trial in self._study.get_trials(deepcopy=False)
        }
        for architecture, origin in architectures:
            if architecture.text in there:
                continue
            attrs = {"architecture": architecture.text, "origin": origin}
            self._study.enqueue_trial(self._params(architecture), user_attrs=attrs)

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
        trial_id = self._trial_id(proposal)
        if self._storage.get_trial(trial_id).user_attrs.get("retried"):
            return False
        self._storage.set_trial_user_attr(trial_id, "retried", True)
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)
        self._known.pop(proposal.architecture, None)
        return True

    def propose(self) -> Proposal | None:
        """Give an architecture that was never evaluated nor is under way; None where the space has no other."""
        self.latency_model.learn(self.records)
        error = self.latency_model.error
        if isinstance(self._sampler, LatencyAwareSampler) and error is not None:
            self._sampler.max_latency = self.limits.latency_ratio - error
        for _ in range(_ASKS_BEFORE_DRAWING):
            try:
                trial = self._study.ask(self._distributions)
            except SpaceExhaustedError:
                break
            proposal = self._accept(trial)
            if proposal is not None:
                return proposal
        return self._propose_drawn()

    def _too_slow(self, architecture: Architecture) -> bool:
        return self._foretold_excess(architecture) > 0

    def _foretold_excess(self, architecture: Architecture) -> float:
        """Give the share by which an architecture is foretold to be slower than allowed."""
        foretold = self.latency_model.predict(architecture)
        # What just passes is mostly what was foretold too low, so the error is added.
        return sum(foretold) / self.limits.latency_ratio - 1 if foretold else -1.0

    def _propose_drawn(self) -> Proposal | None:
        """Draw until something new comes up that is not foretold to be too slow; failing that, the least slow of all.

        For a sampler that has converged, that knows of nothing fast yet, or a space that is nearly used up.
        """
        drawn: dict[Architecture, float] = {}
        for _ in range(_DRAWS):
            architecture = self._draw()
            if architecture in self._known:
                continue
            drawn[architecture] = self._foretold_excess(architecture)
            if drawn[architecture] <= 0:
                break
        # An older one in the queue may come first, and be known.
        for architecture in sorted(drawn, key=drawn.__getitem__)[:_ASKS_BEFORE_DRAWING]:
            self.enqueue([(architecture, "sampler")])
            proposal = self._accept(self._study.ask(self._distributions))
            if proposal is not None:
                return proposal
        return None

    def _draw(self) -> Architecture:
        """Draw an architecture: of the variables, a random share is replaced at random."""
        share = self._rng.random()
        values = {
            name: self._rng.choice(choices)
            if REGULAR not in choices or self._rng.random() < share
            else REGULAR
            for name, choices in self._space.variables.items()
        }
        return self._space.expand(values)

    def _accept(self, trial: optuna.Trial) -> Proposal | None:
        """Turn an asked trial into a proposal, or answer it from what is known."""
        attrs = trial.user_attrs
        if "architecture" in attrs:
            architecture = Architecture.from_text(attrs["architecture"])
        else:
            architecture = self._space.expand(
                {name: Choice.parse(text) for name, text in trial.params.items()}
            )
        if architecture in self._known:
            self._answer(trial, self._known[architecture])
            return None
        # The latency-aware sampler has checked its own: it gives what is too slow only where nothing else is left.
        blind = not isinstance(self._sampler, LatencyAwareSampler)
        unchecked = ("architecture" not in attrs and blind) or (
            attrs.get("origin") == "seed" and "trial" not in attrs
        )
        if unchecked and self._too_slow(architecture):
            trial.set_user_attr("foretold", "too slow")
            trial.set_constraint("latency", self._foretold_excess(architecture))
            self._study.tell(trial, state=TrialState.PRUNED)  # the sampler learns from it
            return None
        number = int(attrs.get("trial", self._next))
        self._next = max(self._next, number + 1)
        origin = cast("Origin", attrs.get("origin", "sampler"))
        trial.set_user_attr("trial", number)
        trial.set_user_attr("architecture", architecture.text)
        trial.set_user_attr("origin", origin)
        self._known.setdefault(architecture, None)
        return Proposal(number, trial.number, architecture, origin)

    def _answer(self, trial: optuna.Trial, record: TrialRecord | None) -> None:
        """Tell the sampler what an architecture it proposes again is known to have: free, and not a trial of ours."""
        trial.set_user_attr("duplicate", True)
        if record is not None and record.state == "complete":
            self._study.tell(trial, values=self._values(record))
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _params(self, architecture: Architecture) -> dict[str, str]:
        wanted = {name: architecture[name] for name in self._space.variables}
        return {n: str(c) for n, c in wanted.items() if c in self._space.variables[n]}

    # -- recording -------------------------------------------------------------------------------

    def note_rung(self, proposal: Proposal, epochs: int, accuracy: float, latency: float) -> None:
        """Keep what a running trial has at a rung, so that a resumed search compares with it."""
        trial_id = self._trial_id(proposal)
        self._storage.set_trial_user_attr(trial_id, f"rung:{epochs}", [accuracy, latency])

    def rungs(self) -> Iterator[tuple[int, int, float, float]]:
        """Iterate over `(trial, epochs, accuracy, latency)` of every rung ever reached."""
        for trial in self._study.get_trials(deepcopy=False):
            for name, value in trial.user_attrs.items():
                if name.startswith("rung:"):
                    yield trial.user_attrs["trial"], int(name[5:]), value[0], value[1]

    def record(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep an ended trial's record and tell the sampler."""
        trial_id = self._trial_id(proposal)
        self._storage.set_trial_user_attr(trial_id, "record", record_to_json(record))
        self._tell(proposal.key, record)
        self._remember(record)

    def _tell(self, key: int, record: TrialRecord) -> None:
        values = self._values(record) if record.state == "complete" else None
        if record.state == "infeasible":
            self._constrain(key, record)
        self._study.tell(key, values=values, state=_OPTUNA_STATE[record.state])

    def _constrain(self, key: int, record: TrialRecord) -> None:
        """Tell the sampler by how much a trial exceeds each limit; it takes those that exceed least for better."""
        trial = optuna.trial.Trial(self._study, self._id_of(key))
        for name, excess in self.limits.exceeded(record).items():
            if name not in trial.constraints:  # a killed process may have told it
                trial.set_constraint(name, excess)

    def _trial_id(self, proposal: Proposal) -> int:
        return self._id_of(proposal.key)

    def _id_of(self, key: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, key)

    def _values(self, record: TrialRecord) -> list[float]:
        if record.latency_ms is None:
            raise RunError(f"trial {record.trial} is complete but has no latency")
        return [record.scores[self._metric], record.latency_ms]

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._storage.remove_session()
        self._storage.engine.dispose()
