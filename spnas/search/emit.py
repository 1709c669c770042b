"""Writes a run's results: trials.csv, confirmed.csv, pareto.csv, pareto/*.yaml, pareto.png."""

from __future__ import annotations

import logging
from typing import Any

from spnas.networks import model_document
from spnas.runs import RunDirectory, TrialRecord, plot_front, write_confirmed, write_front
from spnas.search.confirmation import confirmed_records, describe
from spnas.search.coordinator import Coordinator
from spnas.search.plan import Plan

logger = logging.getLogger("spnas")


def write_results(run: RunDirectory, plan: Plan, coordinator: Coordinator) -> None:
    """Write everything that is derived from the study; whatever was there before is replaced.

    The front is that of the re-evaluations where they confirm it, else that of the trials.
    """
    coordinator.save()
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
    if len(coordinator.front) > 1 and (again or plan.config.confirm_share):
        logger.info("%s", describe(trials, list(again.values()), coordinator.metric))
