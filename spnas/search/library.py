"""A phase of a search before its trials: operators prepared once that every trial then starts from."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Literal

from spnas.errors import SpnasError, WorkerLostError
from spnas.runs import RunDirectory
from spnas.search.budget import Ledger
from spnas.search.plan import Plan
from spnas.search.spending import keep_spent
from spnas.search.study import SearchStudy

logger = logging.getLogger("spnas")

_STATE = "library"
Outcome = Literal["built", "given up", "lost"]


def prepare_library(
    run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger
) -> Path | None:
    """Prepare every choice of every site in a worker, or take what an earlier sitting prepared.

    Where it takes longer than its share of the budget, or fails, the trials inherit weights in closed form. Where the
    worker died a later sitting tries again, unless there are trials by then: those of a run all start alike.

    Returns:
        The library's file; None where trials do without.
    """
    if plan.config.inherit == "weights":
        return None
    outcome = study.get(_STATE)
    if outcome is None and not study.records:
        outcome = _prepare(run, plan, study, ledger)
        if outcome != "lost":
            study.set(_STATE, outcome)
    return run.library if outcome == "built" else None


def _prepare(run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger) -> Outcome:
    left = ledger.seconds_left()
    limit_s = math.inf if left is None else plan.config.library_share * left
    started = time.monotonic()
    outcome: Outcome = "given up"
    try:
        reason = _build(run, plan, study, ledger, limit_s)
        outcome = "given up" if reason else "built"
    except WorkerLostError as error:
        outcome, reason = "lost", str(error)
    except SpnasError as error:  # an operator that cannot be trained; its trials will tell
        reason = str(error)
    took = time.monotonic() - started
    told = f"{outcome}: {reason}; trials start from inherited weights" if reason else outcome
    logger.info("operator library: %s, %.0f s | %s", told, took, ledger.describe())
    return outcome


def _build(
    run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger, limit_s: float
) -> str | None:
    """Have a worker do it, keeping what is spent up to date; say why it was given up, None where it was not."""
    from spnas.search.runner import run_library

    settings = plan.settings(run.base_weights, threads=plan.cpus)
    built = False
    try:
        for event in run_library(settings, plan, run.library, limit_s):
            keep_spent(study, ledger)
            built = built or bool(event)
    finally:
        keep_spent(study, ledger)
    share = plan.config.library_share
    return None if built else f"it takes more than {limit_s:.0f} s, {share:g} of what is left"
