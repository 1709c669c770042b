"""The second phase of a search: what each choice takes at each site, so that latencies are foretold from the start."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import TYPE_CHECKING

from spnas.latency import LatencyTable
from spnas.runs import RunDirectory, write_text_atomic
from spnas.search.budget import Ledger
from spnas.search.coordinator import keep_spent
from spnas.search.plan import Plan
from spnas.search.study import SearchStudy

if TYPE_CHECKING:
    from spnas.search.remote import RemoteBench

logger = logging.getLogger("spnas")


def prepare_table(
    run: RunDirectory,
    plan: Plan,
    study: SearchStudy,
    ledger: Ledger,
    bench: RemoteBench | None = None,
) -> LatencyTable | None:
    """Measure the latency table, or read the one that an earlier sitting measured.

    What other runs on this machine have measured is not measured again. Where it takes longer than its share of the
    budget, the search does without.
    """
    if run.latency_table.is_file():
        return LatencyTable.from_json(json.loads(run.latency_table.read_text(encoding="utf-8")))
    left = ledger.seconds_left()
    limit_s = math.inf if left is None else plan.config.table_share * left
    if plan.config.table_share == 0 or limit_s <= 0:
        return None
    started = time.monotonic()
    table = _measure(run, plan, study, ledger, limit_s, bench)
    took = time.monotonic() - started
    if table is None:
        logger.info("latency table: given up after %.0f s | %s", took, ledger.describe())
        return None
    content = json.dumps(table.to_json(), indent=1) + "\n"
    write_text_atomic(run.latency_table, content)
    logger.info("latency table: %d sites in %.0f s | %s", len(table.times), took, ledger.describe())
    return table


def _measure(
    run: RunDirectory,
    plan: Plan,
    study: SearchStudy,
    ledger: Ledger,
    limit_s: float,
    bench: RemoteBench | None,
) -> LatencyTable | None:
    """Have a worker measure, keeping what is spent up to date."""
    from spnas.search.runner import run_table

    settings = plan.settings(run.base_weights)
    table: LatencyTable | None = None
    try:
        for event in run_table(settings, plan, limit_s, bench):
            keep_spent(study, ledger)
            if event is not None:
                (table,) = event
    finally:
        keep_spent(study, ledger)
    return table
