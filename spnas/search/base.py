"""The first phase of a search: the base network, trained in a worker or taken from the user's weights."""

from __future__ import annotations

import logging
import time
from typing import Any

from spnas.errors import BudgetError
from spnas.runs import RunDirectory
from spnas.search.budget import Ledger
from spnas.search.coordinator import keep_spent
from spnas.search.plan import Plan
from spnas.search.seeds import seed_architectures
from spnas.search.study import SearchStudy

logger = logging.getLogger("spnas")


def prepare_base(
    run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger
) -> dict[str, Any]:
    """Train the base network or take the user's weights, measure its latency, and line up the first trials.

    Returns:
        What `train_base` tells.

    Raises:
        BudgetError: The budget ends before the training would.
        TrainingError: The training diverged.
    """
    weights = plan.config.weights
    what = f"taken from {weights}" if weights else f"{plan.base_schedule.epochs} epochs"
    logger.info("base network %s: %s", plan.network.name, what)
    try:
        base = _train(run, plan, study, ledger)
    except KeyboardInterrupt:
        logger.info("interrupted: `spnas search --resume %s` prepares the base again", run.path)
        raise
    finally:
        keep_spent(study, ledger)
    study.enqueue(seed_architectures(plan.space))
    study.set("base", base)
    scores = "".join(f"{name} {value:.4f}, " for name, value in (base["scores"] or {}).items())
    logger.info(
        "base network: %slatency %.2f ms | %s", scores, base["latency_ms"], ledger.describe()
    )
    return base


def _train(run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger) -> dict[str, Any]:
    """Follow the training epoch by epoch, giving up as soon as it is known not to end within the budget."""
    from spnas.search.runner import run_base

    settings = plan.settings(run.base_weights, threads=plan.cpus)
    epochs = plan.base_schedule.epochs
    first: float | None = None
    facts: dict[str, Any] = {}
    for event in run_base(settings, plan):
        if isinstance(event, dict):
            facts = event
            continue
        epoch, loss = event
        keep_spent(study, ledger)
        logger.info(
            "base network: epoch %d of %d, loss %.3f | %s", epoch, epochs, loss, ledger.describe()
        )
        first = first or time.monotonic()  # the first epoch's end: before it, the worker started
        rate = (time.monotonic() - first) / max(1, epoch - 1)
        _check_budget(ledger, rate, epochs, epochs - epoch)
    return facts


def _check_budget(ledger: Ledger, seconds_an_epoch: float, epochs: int, to_do: int) -> None:
    left = ledger.seconds_left()
    if left is None or seconds_an_epoch * to_do <= left:
        return
    raise BudgetError(
        f"budget {ledger.budget.text!r} ends before the base network is trained: {epochs} epochs take about "
        f"{seconds_an_epoch * epochs / 60:.1f} min; expected a larger --budget, --weights of a trained base network, "
        "or fewer base_epochs in --config"
    )
