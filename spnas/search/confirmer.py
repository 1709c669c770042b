"""The last phase of a search: the base network and the front evaluated again, as far as the budget reaches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from spnas.runs import RunDirectory, TrialRecord, write_confirmed
from spnas.search.budget import Ledger
from spnas.search.confirmation import line_up, pool_latency
from spnas.search.coordinator import Coordinator, now
from spnas.search.limits import Limits
from spnas.search.objective import Evaluation, TrialSettings
from spnas.search.plan import Plan
from spnas.search.progress import Progress, render_confirmation
from spnas.search.spending import confirmation_spent, keep_confirmation_spent, keep_spent
from spnas.search.storage import record_to_json
from spnas.search.study import SearchStudy
from spnas.search.telling import told

if TYPE_CHECKING:
    from spnas.search.remote import RemoteBench

logger = logging.getLogger("spnas")

_FEWEST = 2  # re-evaluations that say anything: the base network's and another's
_MOST_FAILURES = 5  # in a row


@dataclass(frozen=True)
class Reevaluation:
    """A trial that is evaluated again.

    Attributes:
        record: The trial.
        seed: Number of the seed, from 1.
        settings_seed: The seed of the run's trials, which this one's differs from.
        started: ISO 8601, UTC.
        clock: Seconds when it started.
    """

    record: TrialRecord
    seed: int
    settings_seed: int
    started: str
    clock: float

    @property
    def task(self) -> dict[str, Any]:
        """What a worker is given; latency is measured once, and the base's ratio is 1 by definition."""
        architecture = self.record.architecture
        return {
            "trial": self.record.trial,
            "architecture": architecture.text,
            "seed": self.settings_seed + self.seed,
            "number": self.seed,
            "latency": self.seed == 1 and not architecture.is_base,
        }


class Confirmer:
    """Says what is evaluated again next, and keeps what comes of it in the study and in confirmed.csv.

    Args:
        run: Where confirmed.csv goes.
        study: Holds the trials and what was evaluated again before.
        ledger: The budget.
        share: Of a budget in trials: as many re-evaluations, at most, as this share of it.
        score_columns: The task's columns, the accuracy to maximize first.
        sites: Names of all searchable sites.
        seed: The seed of the run's trials.
        slots: Re-evaluations at the same time.
        devices_per_trial: Devices, in the budget's unit, that one occupies.
        clock: Wall seconds, monotonic.
    """

    def __init__(
        self,
        run: RunDirectory,
        study: SearchStudy,
        ledger: Ledger,
        *,
        share: float,
        score_columns: tuple[str, ...],
        sites: tuple[str, ...],
        seed: int,
        slots: int,
        devices_per_trial: float,
        clock: Callable[[], float],
    ) -> None:
        self.run, self.study, self.ledger = run, study, ledger
        self.metric, self._score_columns, self._sites = score_columns[0], score_columns, sites
        self.slots, self._devices_per_trial, self._clock = slots, devices_per_trial, clock
        self._share, self._seed = share, seed
        # What failed in an earlier sitting may succeed now.
        earlier = study.confirmations()
        self.done = {key: again for key, again in earlier.items() if again.state != "failed"}
        self.running: dict[str, Reevaluation] = {}
        self.finished: str | None = None
        self._line = line_up(study.records, self.metric)
        self._retried: set[tuple[int, int]] = set()
        self._failures = 0
        self._before = confirmation_spent(study) - ledger.spent

    @property
    def to_do(self) -> list[tuple[TrialRecord, int]]:
        """What would be evaluated again were the budget endless; what failed once or is too slow is not."""
        given_up = {trial for (trial, _), r in self.done.items() if r.state != "complete"}
        running = {(one.record.trial, one.seed) for one in self.running.values()}
        return [
            (record, seed)
            for record, seed in self._line
            if record.trial not in given_up
            and (record.trial, seed) not in running | self.done.keys()
        ]

    def is_worthwhile(self) -> bool:
        """Whether something is left to do, and enough of the budget to learn anything from it."""
        missing = max(1, _FEWEST - len(self.done))
        left = self.ledger.seconds_left()
        if left is None:
            fits = self._allowed() >= max(_FEWEST, len(self.done) + 1)
        else:
            fits = left > self.ledger.trial_seconds * math.ceil(missing / self.slots)
        return bool(self.to_do) and fits

    def _allowed(self) -> int:
        return int(self._share * self.ledger.budget.amount)

    def start(self, key: str) -> Reevaluation | None:
        """Give the next re-evaluation; None where all slots are taken or, with `finished` set, there is none."""
        if len(self.running) >= self.slots or self.finished:
            return None
        waiting = self.to_do
        if not waiting:
            self.finished = "all is evaluated again"
        elif not self._may_start():
            self.finished = "the budget is spent"
        if self.finished:
            return None
        record, seed = waiting[0]
        self.running[key] = Reevaluation(record, seed, self._seed, now(), self._clock())
        return self.running[key]

    def _may_start(self) -> bool:
        if self.ledger.total is None:
            return len(self.done) + len(self.running) < self._allowed()
        return self.ledger.may_start(0)

    def goes_on(self, key: str, evaluation: Evaluation) -> bool:
        """Let everything end that was started."""
        return True

    def lose(self, key: str, reason: str) -> None:
        """Line up again, once, what did not end."""
        one = self.running[key]
        if (one.record.trial, one.seed) in self._retried:
            self.end(key, None, f"twice: {reason}")
            return
        self._retried.add((one.record.trial, one.seed))
        del self.running[key]
        logger.info("trial %d again: %s; once more", one.record.trial, reason)

    def end(
        self,
        key: str,
        evaluation: Evaluation | None,
        error: str | None,
        seconds: float | None = None,
    ) -> TrialRecord:
        """Keep what came of a re-evaluation; see `Coordinator.end`."""
        one = self.running.pop(key)
        occupied = self._clock() - one.clock
        record = self._record(one, evaluation or Evaluation(), error, occupied)
        self.done[one.record.trial, one.seed] = record
        self.study.keep_confirmation(one.seed, record)
        if record.state == "failed":
            self._failures += 1
        else:
            self._failures = 0
            self.ledger.note_trial(occupied if seconds is None else seconds)
        if self._failures >= _MOST_FAILURES or (self._failures and one.record.architecture.is_base):
            self.finished = f"re-evaluations fail, the last one: {record.error}"
        self.save()
        event = told("again", seed=one.seed, **record_to_json(record))
        logger.info("%s", self._describe(one, record), extra=event)
        return record

    def _record(
        self, one: Reevaluation, known: Evaluation, error: str | None, occupied: float
    ) -> TrialRecord:
        record = TrialRecord(
            trial=one.record.trial,
            state="complete",
            architecture=one.record.architecture,
            origin=one.record.origin,
            device_s=occupied * self._devices_per_trial,
            started=one.started,
            finished=now(),
            **vars(known),
        )
        accuracy = known.scores.get(self.metric)
        if error or accuracy is None or math.isnan(accuracy):
            missing = f"no {self.metric} was reported"
            return replace(record, state="failed", error=error or missing, scores={})
        reason = self.study.limits.reason(pool_latency(one.record, [record]))
        if reason and one.record.state == "complete":  # by both measurements together
            return replace(record, state="infeasible", error=reason)
        return record

    def _describe(self, one: Reevaluation, record: TrialRecord) -> str:
        parts = [f"trial {record.trial} again, seed {one.seed}"]
        if record.scores:
            before, after = one.record.scores[self.metric], record.scores[self.metric]
            parts.append(f"{self.metric} {after:.4f} (trial {before:.4f})")
        if record.latency_ratio is not None and one.record.latency_ratio is not None:
            ratio = f"{record.latency_ratio:.3f} of the base (trial {one.record.latency_ratio:.3f})"
            parts.append(ratio)
        if record.error:
            parts.append(f"{record.state}: {record.error}")
        return " | ".join([*parts, self.spent()])

    def seconds_since(self, clock: float) -> float:
        """Give the wall seconds since a re-evaluation started."""
        return self._clock() - clock

    def share_spent(self) -> float:
        """Give what is spent as a share of the budget."""
        return self.ledger.share_spent(len(self.done), self._allowed())

    def spent(self) -> str:
        """Tell what is spent of the budget."""
        if self.ledger.total is None:
            return f"{len(self.done)} of {self._allowed()} re-evaluations"
        return self.ledger.describe()

    def save(self) -> None:
        """Write confirmed.csv and what is spent."""
        self.heartbeat()
        write_confirmed(self.run.confirmed, self.done, self._score_columns, self._sites)

    def heartbeat(self) -> None:
        """Keep what is spent, in all and by this phase."""
        keep_spent(self.study, self.ledger)
        keep_confirmation_spent(self.study, self._before + self.ledger.spent)


def confirm_front(
    run: RunDirectory,
    plan: Plan,
    coordinator: Coordinator,
    settings: TrialSettings,
    console: Console | None,
    bench: RemoteBench | None = None,
) -> str | None:
    """Evaluate the base network and the front again, as far as the budget reaches.

    Args:
        run: Where to.
        plan: The search.
        coordinator: What ran the trials.
        settings: What the trials shared.
        console: Where a live view is drawn; None for none.
        bench: What latency is measured on; None for a device of the workers.

    Returns:
        Why the search ended, None where the user interrupted it.
    """
    from spnas.search.runner import run_trials

    ledger, study = coordinator.ledger, coordinator.study
    if not coordinator.finished or coordinator.gave_up or not plan.config.confirm_share:
        return coordinator.finished
    ledger.begin_phase(coordinator.again * ledger.trial_seconds + coordinator.startup_s)
    confirmer = Confirmer(
        run,
        study,
        ledger,
        share=plan.config.confirm_share,
        score_columns=plan.info.columns,
        sites=coordinator.sites,
        seed=plan.config.seed,
        slots=coordinator.slots,
        devices_per_trial=plan.devices_per_trial,
        clock=time.monotonic,
    )
    if not confirmer.is_worthwhile():
        return coordinator.finished
    again = replace(settings, schedule=plan.confirm_schedule, limits=Limits())
    if (timeout_s := plan.config.trial_timeout_s) is not None:
        longer = {"trial_timeout_s": timeout_s * max(1.0, coordinator.again)}
        plan = replace(plan, config=plan.config.model_copy(update=longer))
    logger.info("the front is evaluated again, %d epochs each", again.schedule.epochs)
    with Progress(lambda: render_confirmation(confirmer), confirmer.heartbeat, console) as progress:
        run_trials(confirmer, again, plan, progress.tick, bench)
    if confirmer.finished is None or confirmer.running:
        return None
    return confirmer.finished
