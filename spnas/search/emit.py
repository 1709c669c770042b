"""Writes a run's results: trials.csv, confirmed.csv, costs.csv, pareto.csv, pareto/*.yaml, pareto.png, report.html."""

from __future__ import annotations

import logging
from typing import Any

from spnas.networks import model_document
from spnas.runs import RunDirectory, TrialRecord, plot_front, write_confirmed, write_front
from spnas.runs.course import write_costs
from spnas.search.confirmation import confirmed_records, describe
from spnas.search.coordinator import Coordinator
from spnas.search.plan import Plan
from spnas.search.report import report_run
from spnas.search.spending import costs_by_phase

logger = logging.getLogger("spnas")


def write_results(run: RunDirectory, plan: Plan, coordinator: Coordinator) -> None:
    """Write everything that is derived from the study; whatever was there before is replaced.

    The front is that of the re-evaluations where they confirm it, else that of the trials.
    """
    coordinator.save()
    write_costs(run.costs, costs_by_phase(coordinator.study, coordinator.ledger))
    trials, again = coordinator.records, coordinator.study.confirmations()
    confirmed = confirmed_records(trials, again.values(), coordinator.metric)
    records = confirmed or trials

    def document(record: TrialRecord) -> dict[str, Any]:
        return model_document(
            plan.network, plan.info.num_classes, record.architecture, record.forms
        )

    base = coordinator.study.get("base")
    measured_on = {
        **({"node": plan.latency_node} if plan.latency_node else {}),
        "device": base["device"],
        "runtime": base["runtime"],
        "batch": plan.latency_batch,
        "imgsz": plan.imgsz,
    }
    write_front(
        run,
        records,
        document,
        metric=coordinator.metric,
        score_columns=plan.info.columns,
        sites=coordinator.sites,
        conditions=measured_on,
    )
    if again:
        write_confirmed(run.confirmed, again, plan.info.columns, coordinator.sites)
    if trials:
        plot_front(trials, run.plot, coordinator.metric, confirmed)
    _write_report(run)
    if len(coordinator.front) > 1 and (again or plan.config.confirm_share):
        logger.info("%s", describe(trials, list(again.values()), coordinator.metric))


def _write_report(run: RunDirectory) -> None:
    """Write the report; all else is written by now, and a page that fails is no reason for a search to."""
    try:
        report_run(run)
    except Exception:
        logger.exception("report.html was not written; `spnas report %s` writes it", run.path)
