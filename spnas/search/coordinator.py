"""Decides what a run does next: proposes trials within the budget, judges rungs, keeps records and files.

Pure of Ray, so that its rules are tested directly; `runner.py` connects it to Ray Tune.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from spnas.runs import (
    RunDirectory,
    TrialRecord,
    append_trial,
    front_hypervolume,
    front_records,
    write_trials,
)
from spnas.runs.course import write_rungs
from spnas.runs.records import State
from spnas.search.budget import Ledger
from spnas.search.kept_trials import Proposal
from spnas.search.objective import Evaluation
from spnas.search.patience import Patience
from spnas.search.reserve import Reserve
from spnas.search.scheduler import Rule
from spnas.search.spending import keep_spent
from spnas.search.storage import record_to_json
from spnas.search.study import SearchStudy
from spnas.search.telling import describe_trial, told

logger = logging.getLogger("spnas")


def now() -> str:
    """Give the time as trials.csv holds it: ISO 8601, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass
class RunningTrial:
    """A trial under way.

    Attributes:
        proposal: What is evaluated.
        started: ISO 8601, UTC.
        clock: Wall seconds, monotonic, when it started.
        evaluation: What it last reported.
        stopped: Why it was stopped, None while it goes on.
    """

    proposal: Proposal
    started: str
    clock: float
    evaluation: Evaluation = field(default_factory=Evaluation)
    stopped: str | None = None


class Coordinator:
    """Keeps a run's trials: which to start, which to stop, what is known of each.

    Args:
        run: Where results go.
        study: The persistent study.
        ledger: The budget.
        rule: The rung rule.
        score_columns: The task's columns, the accuracy to maximize first.
        sites: Names of all searchable sites, a CSV column each.
        slots: Trials that run at the same time.
        devices_per_trial: Devices, in the budget's unit, that a trial occupies.
        again: How many times as long as a trial a re-evaluation takes, in the confirmation.
        clock: Wall seconds, monotonic.

    Attributes:
        running: The trials under way, by Ray's key.
        finished: Why no further trial starts, None while others do.
        only_base: Why none but the base network is worth a trial, None where others are.
        startup_s: How long a trial waited for its worker, at most, wall seconds.
    """

    def __init__(
        self,
        run: RunDirectory,
        study: SearchStudy,
        ledger: Ledger,
        rule: Rule,
        *,
        score_columns: tuple[str, ...],
        sites: tuple[str, ...],
        slots: int,
        devices_per_trial: float,
        again: float,
        clock: Callable[[], float],
    ) -> None:
        self.run, self.study, self.ledger, self.rule = run, study, ledger, rule
        self.metric, self.score_columns, self.sites = score_columns[0], score_columns, sites
        self.slots, self._devices_per_trial, self._clock = slots, devices_per_trial, clock
        self.again = again
        self.running: dict[str, RunningTrial] = {}
        self.finished: str | None = None
        self.only_base: str | None = None
        self.startup_s = 0.0
        self._patience = Patience(slots, study.records)
        self._written = False
        self._reserve = Reserve(ledger)
        self._rungs = list(study.rungs())
        for trial, epochs, accuracy, latency in self._rungs:
            rule.add(trial, epochs, accuracy, latency)
        for record in self.records:
            self._tell_rule(record)
        lengths = sorted(r.device_s for r in self.records if _ran_to_its_end(r) and r.device_s)
        if lengths:  # each worker's first trial also waited for the worker: those are the longest
            usual = statistics.median(lengths[: max(1, len(lengths) - slots)])
            ledger.note_trial(usual / devices_per_trial)

    @property
    def gave_up(self) -> bool:
        """Whether no further trial starts since trials fail."""
        return self._patience.failing

    @property
    def records(self) -> list[TrialRecord]:
        """The records of all ended trials, in order of completion."""
        return self.study.records

    def start(self, key: str) -> Proposal | None:
        """Give the next trial; None where all slots are taken or, with `finished` set, where there is no next one."""
        if len(self.running) >= self.slots or self.finished:
            return None
        if self.only_base and (self.records or self.running):
            if not self.running:  # one that is lost is run again
                self.finished = self.only_base
            return None
        if not self._may_start():
            self.finished = "the trials' budget is spent (--resume with a larger --budget goes on)"
            return None
        proposal = self.study.propose()
        if proposal is None:
            self.finished = "every architecture of the space has been evaluated"
            return None
        self.running[key] = RunningTrial(proposal, now(), self._clock())
        return proposal

    def _may_start(self) -> bool:
        """Whether the budget allows another trial, with what confirmation cannot use."""
        started = len(self.records) + len(self.running)
        return self._reserve.may_start(started, self._confirmation_s())

    def _confirmation_s(self) -> float:
        """Estimate the wall seconds in which the base and half of the front would be evaluated again."""
        rivals = [record for record in self.front if not record.architecture.is_base]
        in_a_row = math.ceil((1 + math.ceil(len(rivals) / 2)) / self.slots)
        return self.startup_s + in_a_row * self.again * self.ledger.trial_seconds

    def goes_on(self, key: str, evaluation: Evaluation) -> bool:
        """Note what a trial has at a rung and decide whether it goes on. The base network always does."""
        trial = self.running[key]
        trial.evaluation = evaluation
        accuracy, latency = evaluation.scores[self.metric], evaluation.latency_ms
        if latency is None or self.study.limits.exceeded(
            evaluation
        ):  # the base: no rival to others
            return True
        self.study.note_rung(trial.proposal, evaluation.epochs, accuracy, latency)
        self._rungs.append((trial.proposal.trial, evaluation.epochs, accuracy, latency))
        promoted = self.rule.goes_on(trial.proposal.trial, evaluation.epochs, accuracy, latency)
        if trial.proposal.architecture.is_base:
            return True
        if self.ledger.exhausted():
            trial.stopped = f"budget: spent at epoch {evaluation.epochs}"
        elif not promoted:
            trial.stopped = f"rung: not promoted at epoch {evaluation.epochs}"
        return trial.stopped is None

    def lose(self, key: str, reason: str) -> None:
        """Line up again, once, a trial that did not end, such as one whose worker died; the reason is one line."""
        proposal = self.running[key].proposal
        if self.study.retry(proposal):
            del self.running[key]
            logger.info("trial %d: %s; it is run again", proposal.trial, reason)
        else:
            self.end(key, None, f"twice: {reason}")

    def end(
        self,
        key: str,
        evaluation: Evaluation | None,
        error: str | None,
        seconds: float | None = None,
    ) -> TrialRecord:
        """Keep an ended trial.

        Args:
            key: The trial's key in Ray.
            evaluation: What it ended with; None where only the last rung is known.
            error: Why it failed, None where it did not.
            seconds: How long the next one like it would take, the worker being there; None for as long as this one.
        """
        trial = self.running.pop(key)
        known = evaluation or trial.evaluation
        state, reason = self._judge(trial, known, error)
        occupied = self._clock() - trial.clock
        record = TrialRecord(
            trial=trial.proposal.trial,
            state=state,
            architecture=trial.proposal.architecture,
            origin=trial.proposal.origin,
            device_s=occupied * self._devices_per_trial,
            started=trial.started,
            finished=now(),
            error=reason,
            **vars(known),
        )
        self.study.record(trial.proposal, record)
        self._tell_rule(record)
        if seconds is not None:
            self.startup_s = max(self.startup_s, occupied - seconds)
        if _ran_to_its_end(record):
            self.ledger.note_trial(occupied if seconds is None else seconds)
        self.finished = self._patience.over(self.records, self.study.limits) or self.finished
        self._keep(record)
        event = told("trial", hypervolume=self.hypervolume(), **record_to_json(record))
        logger.info("%s | %s", describe_trial(record, self.metric), self.spent(), extra=event)
        return record

    def _tell_rule(self, record: TrialRecord) -> None:
        """Tell the rule what a complete trial ended with."""
        if record.state == "complete" and record.latency_ms is not None:
            self.rule.complete(record.trial, record.scores[self.metric], record.latency_ms)

    def _judge(
        self, trial: RunningTrial, known: Evaluation, error: str | None
    ) -> tuple[State, str | None]:
        """Say in which state a trial ended, and why where it is not complete."""
        if error:
            return "failed", error
        if trial.stopped:
            return "stopped", trial.stopped
        exceeded = self.study.limits.reason(known)
        if exceeded and not known.epochs:
            return "infeasible", exceeded
        accuracy = known.scores.get(self.metric)
        if accuracy is None or math.isnan(accuracy):
            return "failed", f"no {self.metric} was reported"
        return ("infeasible" if exceeded else "complete"), exceeded

    def save(self) -> None:
        """Write trials.csv, rungs.csv where there are any, and what is spent."""
        keep_spent(self.study, self.ledger)
        self._save_rungs()
        write_trials(self.run.trials, self.records, self.score_columns, self.sites)
        self._written = True

    def _save_rungs(self) -> None:
        if self._rungs:
            write_rungs(self.run.rungs, self._rungs, self.metric)

    def _keep(self, record: TrialRecord) -> None:
        """Add an ended trial to trials.csv; the first one of a sitting writes it anew, whatever a crash left there."""
        if not self._written:
            self.save()
            return
        keep_spent(self.study, self.ledger)
        self._save_rungs()
        append_trial(self.run.trials, record, self.score_columns, self.sites)

    def heartbeat(self) -> None:
        """Keep what is spent, so that a killed run is charged up to its last moment."""
        keep_spent(self.study, self.ledger)

    @property
    def front(self) -> list[TrialRecord]:
        """The Pareto front of the complete trials, sorted by latency."""
        return front_records(self.records, self.metric)

    def hypervolume(self) -> float:
        """Area that the front dominates, accuracy times latency ratio, up to 1.25 times the base's latency."""
        return front_hypervolume(self.records, self.metric)

    def spent(self) -> str:
        """Tell what is spent of the budget."""
        return self.ledger.describe(len(self.records))

    def seconds_since(self, clock: float) -> float:
        """Give the wall seconds since a trial started."""
        return self._clock() - clock

    def share_spent(self) -> float:
        """Give what is spent as a share of the budget."""
        return self.ledger.share_spent(len(self.records))

    def seconds_to_go(self) -> float | None:
        """Estimate the wall seconds until the budget is spent; None before a first trial tells how long they take."""
        left = self.ledger.seconds_left()
        if left is not None:
            return left
        lengths = [record.device_s or 0.0 for record in self.records]
        if not lengths:
            return None
        trials = self.ledger.budget.amount - len(lengths)
        return trials * statistics.mean(lengths) / self._devices_per_trial / self.slots


def _ran_to_its_end(record: TrialRecord) -> bool:
    """Whether the whole schedule was trained: complete trials, and a base network that exceeds the limits."""
    return record.state in ("complete", "infeasible") and record.epochs > 0
