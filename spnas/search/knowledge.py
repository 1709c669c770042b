"""The second phase of a search: what each choice at each site takes, and how much it hurts, before any trial."""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas.architecture import Choice
from spnas.latency import LatencyTable
from spnas.names import counted
from spnas.runs import RunDirectory, write_text_atomic
from spnas.search.budget import Ledger
from spnas.search.plan import Plan
from spnas.search.spending import keep_spent
from spnas.search.study import SearchStudy
from spnas.training import Scores

if TYPE_CHECKING:
    from spnas.search.remote import RemoteBench
    from spnas.search.worker import Learnt

logger = logging.getLogger("spnas")

_NO_GAIN = 0.99  # of the base's latency: a table is off by more than what is gained above


@dataclass(frozen=True)
class Knowledge:
    """What is known before any trial.

    Attributes:
        table: What each choice takes at each site; None where that was not measured.
        scores: How much each choice would hurt at each site; None where that was not worked out.
    """

    table: LatencyTable | None = None
    scores: Scores | None = None


def prepare_knowledge(
    run: RunDirectory,
    plan: Plan,
    study: SearchStudy,
    ledger: Ledger,
    bench: RemoteBench | None = None,
    library: Path | None = None,
) -> Knowledge:
    """Measure the latency table and score the choices, or read what an earlier sitting found.

    What other runs on this machine have measured is not measured again. Where the table takes longer than its share of
    the budget, the search does without it.
    """
    if study.get("knowledge"):
        return _read(run)
    left = ledger.seconds_left()
    limit_s = math.inf if left is None else plan.config.table_share * left
    if plan.config.table_share == 0 or limit_s <= 0:
        return Knowledge()
    started = time.monotonic()
    table, scores = _learn(run, plan, study, ledger, limit_s, bench, library)
    took = time.monotonic() - started
    told = counted(len(table.times), "site") if table else "given up"
    if table is not None:
        _write(run.latency_table, table.to_json())
    if isinstance(scores, str):
        told += f"; the choices have no scores: {scores}"
    else:
        _write(run.scores, {s: {str(c): v for c, v in of.items()} for s, of in scores.items()})
    study.set("knowledge", True)
    logger.info("latency table: %s, %.0f s | %s", told, took, ledger.describe())
    return Knowledge(table, None if isinstance(scores, str) else scores)


def nothing_to_gain(study: SearchStudy, plan: Plan) -> str | None:
    """Say why no architecture would be faster than the base network, None where one is foretold to be.

    So it is where every kernel waits for its launch, or where matrix units make plain convolutions nearly free.
    """
    fastest = study.latency_model.fastest
    if fastest < _NO_GAIN or study.limits.latency_ratio > 1:
        return None
    return (
        f"no choice makes the network faster in runtime {plan.runtime or 'auto'} at batch {plan.latency_batch}: "
        f"the best that the latency table foretells is {fastest:.2f} of the base's latency; expected another device "
        "(--latency-on), runtime or latency_batch, or max_latency above 1x"
    )


def _learn(
    run: RunDirectory,
    plan: Plan,
    study: SearchStudy,
    ledger: Ledger,
    limit_s: float,
    bench: RemoteBench | None,
    library: Path | None,
) -> Learnt:
    """Have a worker do it, keeping what is spent up to date."""
    from spnas.search.runner import run_knowledge

    settings = plan.settings(run.base_weights, threads=plan.cpus, library=library)
    found: Learnt = None, "the worker told of none"
    try:
        for event in run_knowledge(settings, plan, limit_s, bench):
            keep_spent(study, ledger)
            found = event or found
    finally:
        keep_spent(study, ledger)
    return found


def _read(run: RunDirectory) -> Knowledge:
    def content(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    table, scores = content(run.latency_table), content(run.scores)
    return Knowledge(
        LatencyTable.from_json(table) if table else None,
        {s: {Choice.parse(c): v for c, v in of.items()} for s, of in scores.items()}
        if scores
        else None,
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")
