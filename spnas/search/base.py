"""The first phase of a search: the base network, trained in a worker or taken from the user's weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spnas.errors import BudgetError, SpnasError
from spnas.runs import RunDirectory
from spnas.search.budget import Ledger
from spnas.search.plan import Plan
from spnas.search.spending import keep_spent
from spnas.search.study import SearchStudy
from spnas.search.telling import told

if TYPE_CHECKING:
    from spnas.search.remote import RemoteBench

logger = logging.getLogger("spnas")

_SILENCE_S = 30.0


def prepare_base(
    run: RunDirectory,
    plan: Plan,
    study: SearchStudy,
    ledger: Ledger,
    bench: RemoteBench | None = None,
) -> dict[str, Any]:
    """Train the base network or take the user's weights, and measure its latency.

    Returns:
        What `train_base` tells.

    Raises:
        BudgetError: The budget ends before the training and a first trial would.
        TrainingError: The training diverged.
    """
    what = plan.base_told
    if run.base_checkpoint.is_file():
        what += ", going on where it was interrupted"
    logger.info("base network %s: %s", plan.network.name, what)
    try:
        base = _train(run, plan, study, ledger, bench)
    except KeyboardInterrupt:
        logger.info("interrupted: `spnas search --resume %s` goes on with the base", run.path)
        raise
    finally:
        keep_spent(study, ledger)
    study.set("base", base)
    wanted = plan.base_schedule.batch_size if plan.base_schedule else None
    if base.get("batch") not in (None, wanted):
        logger.warning(
            "base network: out of memory with a batch of %d images, trained with %d",
            *(wanted, base["batch"]),
        )
    scores = "".join(f"{name} {value:.4f}, " for name, value in (base["scores"] or {}).items())
    logger.info(
        "base network: %slatency %.2f ms | %s", scores, base["latency_ms"], ledger.describe()
    )
    if base["latency_warning"]:
        logger.warning("base network: latency: %s", base["latency_warning"])
    return base


def _train(
    run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger, bench: RemoteBench | None
) -> dict[str, Any]:
    """Follow the training epoch by epoch, giving up as soon as it is known not to end within the budget."""
    from spnas.search.runner import run_base

    settings = plan.settings(run.base_weights)
    course = _Course(plan, ledger)
    for event in run_base(settings, plan, bench):
        keep_spent(study, ledger)
        if isinstance(event, dict):
            return event
        if event is None:
            course.note_nothing()
        else:
            course.note(*event)
        _check_budget(ledger, course.epoch_s, course.epochs, course.epochs - course.epoch)
    raise SpnasError("the base network: its worker ended without a result")


class _Course:
    """How the training comes along, told to the user and the ledger.

    Args:
        plan: The search.
        ledger: The budget.

    Attributes:
        epochs: How many there will be.
        epoch: The last one done.
        epoch_s: How long one takes, seconds; 0 before two are done.
    """

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._plan, self._ledger = plan, ledger
        self.epochs = plan.base_schedule.epochs if plan.base_schedule else 0
        self.epoch, self.epoch_s = 0, 0.0
        self._first: tuple[int, float] | None = None
        self._told = time.monotonic()

    def note(self, epoch: int, loss: float) -> None:
        """Take note of an epoch's end."""
        self.epoch, self._told = epoch, time.monotonic()
        event = told("base", epoch=epoch, epochs=self.epochs, loss=loss)
        line = "base network: epoch %d of %d, loss %.3f | %s"
        logger.info(line, epoch, self.epochs, loss, self._ledger.describe(), extra=event)
        # Before the end of this sitting's first epoch the worker started.
        self._first = self._first or (epoch, self._told)
        self.note_length((self._told - self._first[1]) / max(1, epoch - self._first[0]))

    def note_length(self, epoch_s: float) -> None:
        """Learn how long an epoch takes, seconds; 0 says nothing. A trial's, on fewer cores, take no less."""
        self.epoch_s = epoch_s or self.epoch_s
        self._ledger.expect_trial(self.epoch_s * self._plan.schedule.epochs)

    def note_nothing(self) -> None:
        """Say now and then that something is under way."""
        if time.monotonic() - self._told < _SILENCE_S:
            return
        self._told = time.monotonic()
        what = f"epoch {self.epoch + 1} of {self.epochs}" if self.epoch else "the first epoch"
        if self.epoch == self.epochs:
            what = "scored and measured"
        logger.info("base network: under way: %s | %s", what, self._ledger.describe())


def expect_first_trial(ledger: Ledger, base: Mapping[str, Any]) -> None:
    """Expect trials to take what was found with the base network, before there was one.

    Args:
        ledger: The budget.
        base: What `train_base` tells, in this sitting or an earlier one.

    Raises:
        BudgetError: The budget ends before a first trial would.
    """
    ledger.expect_trial(base.get("trial_train_s") or 0.0)
    left = ledger.seconds_left()
    if left is not None and not ledger.may_start(0):
        raise BudgetError(
            f"budget {ledger.budget.text!r} ends before a first trial would: it takes about "
            f"{ledger.trial_seconds:.0f} s, {max(0.0, left):.0f} s are left; expected a larger --budget, with which "
            "--resume goes on from the trained base network"
        )


def _check_budget(ledger: Ledger, epoch_s: float, epochs: int, to_do: int) -> None:
    """Check that the training's rest and one trial fit into what is left."""
    left = ledger.seconds_left()
    needed = epoch_s * to_do + ledger.trial_seconds
    if left is None or (left > 0 and needed <= left):
        return
    estimate = (
        f": {to_do} of its {epochs} epochs, about {epoch_s * to_do:.0f} s, and the trial, "
        f"{ledger.trial_seconds:.0f} s, are to come, {max(0.0, left):.0f} s are left"
        if epoch_s
        else ""
    )
    raise BudgetError(
        f"budget {ledger.budget.text!r} ends before the base network is trained and a first trial has ended{estimate}; "
        "expected a larger --budget, beside which --resume keeps the epochs done, "
        "--weights of a trained base network, or fewer base_epochs in --config"
    )
