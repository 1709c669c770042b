"""Writes a run's results: trials.csv, pareto.csv, pareto/*.yaml, pareto.png."""

from __future__ import annotations

from typing import Any

from spnas.networks import model_document
from spnas.runs import RunDirectory, TrialRecord, plot_front, write_front
from spnas.search.coordinator import Coordinator
from spnas.search.plan import Plan


def write_results(run: RunDirectory, plan: Plan, coordinator: Coordinator) -> None:
    """Write everything that is derived from the study; whatever was there before is replaced."""
    coordinator.save()
    records = coordinator.records

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
    if records:
        plot_front(records, run.plot, coordinator.metric)
