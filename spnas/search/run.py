"""A search from start to end: prepare, base, trials, front. And going on with one."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spnas.runs import RunDirectory, write_text_atomic
from spnas.search.base import expect_first_trial, prepare_base
from spnas.search.budget import Budget, Ledger
from spnas.search.config import SearchConfig, make_config, read_config, write_config
from spnas.search.confirmer import confirm_front
from spnas.search.coordinator import Coordinator
from spnas.search.devices import devices_used
from spnas.search.emit import write_results
from spnas.search.environment import describe_environment, used_by_others
from spnas.search.knowledge import Knowledge, nothing_to_gain, prepare_knowledge
from spnas.search.library import prepare_library
from spnas.search.plan import Plan, make_plan
from spnas.search.progress import Progress, render
from spnas.search.scheduler import make_rule
from spnas.search.seeds import seed_architectures
from spnas.search.spending import charged_to, open_ledger, reserve_for_confirmation
from spnas.search.storage import told_where_unwritable
from spnas.search.study import SearchStudy
from spnas.search.telling import Telling, told
from spnas.search.termination import terminated_as_interrupted

if TYPE_CHECKING:
    from spnas.search.remote import RemoteBench

logger = logging.getLogger("spnas")

_KEPT = ("device", "imgsz", "runtime", "latency_batch")  # resolved once, when the run began


def search(config: SearchConfig, telling: Telling) -> RunDirectory:
    """Check everything, make the run directory, search, write the front.

    Args:
        config: The options.
        telling: How it tells of itself.

    Returns:
        The run directory. Its front is empty where no trial was complete when the budget ended.

    Raises:
        InputError: Something the user gave cannot be used; nothing was written then, but by a BudgetError: where the
            budget ends before a first trial would, what was trained of the base network is kept.
    """
    plan = on_cluster(make_plan(_absolute(config)))
    run = RunDirectory.create(Path(config.results), config.run_name())
    with run.hold(), told_where_unwritable(run.path):
        return _search(run, _write_plan(run, plan), telling)


def _write_plan(run: RunDirectory, plan: Plan) -> Plan:
    """Write what the search is made of; give the plan on the data as written, which no working directory changes."""
    write_text_atomic(run.space, plan.space.text)
    write_text_atomic(run.config, write_config(plan.config, plan.resolved()))
    _write_json(run.environment, describe_environment(plan.device))
    if plan.config.data is None or not plan.info.source.is_file():
        return plan
    write_text_atomic(run.data, yaml.safe_dump(plan.info.document(), sort_keys=False))
    data = {"data": str(run.data.resolve())}
    return replace(plan, config=plan.config.model_copy(update=data))


def resume(path: Path, changes: Mapping[str, Any], telling: Telling) -> RunDirectory:
    """Go on with a run: completed trials are kept, those under way are run again once.

    Space, data, device, image size and what latency is measured with are those the run began with.

    Args:
        path: The run directory.
        changes: Options that differ from the run's own: `budget`, towards which earlier spending counts,
            `confirm_share`, or the `address` of the Ray cluster by now.
        telling: How it tells of itself.

    Raises:
        InputError: It is no run directory, its data set, device or cluster is gone, or the budget is too small still.
    """
    run = RunDirectory.open(path)
    config, resolved = read_config(run.config)
    kept: dict[str, Any] = {name: resolved[name] for name in _KEPT if name in resolved}
    kept["space"] = str(run.space)
    if run.data.is_file():
        kept["data"] = str(run.data.resolve())
    if run.base_weights.is_file():  # already taken from the user's file, or trained
        kept["weights"] = str(run.base_weights.resolve())
        kept["base_epochs"] = None  # they are behind it
    plan = on_cluster(make_plan(make_config({**config.model_dump(), **kept, **changes})))
    named = replace(plan.space, name=Path(config.space).stem)  # not after the copy in the run
    plan = replace(plan, space=named)
    with run.hold(), told_where_unwritable(run.path):
        return _search(run, plan, telling)


def _absolute(config: SearchConfig) -> SearchConfig:
    """Make the paths absolute, so that the run can be resumed from any folder; a shipped data set's name is no path."""
    paths = {"data": config.data, "weights": config.weights}
    there = {name: Path(path) for name, path in paths.items() if path and Path(path).exists()}
    return config.model_copy(update={name: str(path.resolve()) for name, path in there.items()})


def _search(run: RunDirectory, plan: Plan, telling: Telling) -> RunDirectory:
    with terminated_as_interrupted(), telling.log_to(run.log):
        begin = told("start", run=str(run.path), resolved=plan.resolved())
        logger.info("run %s: %s", run.path, plan.describe(), extra=begin)
        for device in devices_used(plan.config, plan.device, plan.gpus):
            if busy := used_by_others(device):
                fewer = "; fewer cpus may be faster" if device.type == "cpu" else ""
                line = "%s: what runs there takes longer, and is measured less well%s"
                logger.warning(line, busy, fewer)
        study = SearchStudy(
            run.study,
            plan.space,
            plan.info.columns[0],
            plan.config.seed,
            plan.config.sampler,
        )
        try:
            budget = Budget.parse(plan.config.budget)
            ledger = open_ledger(study, budget, plan.devices, counts_gpus=plan.counts_gpus)
            coordinator = _run_phases(run, plan, study, ledger, telling)
            write_results(run, plan, coordinator)
            reason = (
                coordinator.finished or f"interrupted: `spnas search --resume {run.path}` goes on"
            )
            end = told("end", run=str(run.path))
            logger.info("ended: %s | %s | %s", reason, coordinator.spent(), run.report, extra=end)
        finally:
            study.close()
    return run


def _run_phases(
    run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger, telling: Telling
) -> Coordinator:
    """Train the base and measure the latency table where that is not done yet, run trials, confirm the front."""
    # Ray is imported when a search really starts, after everything the user gave has been checked.
    from spnas.search.cluster import ray_cluster
    from spnas.search.runner import run_trials

    with ray_cluster(plan):
        bench = _open_bench(run, plan)
        with charged_to(study, ledger, "base network"):
            base = study.get("base") or prepare_base(run, plan, study, ledger, bench)
        if not study.records:
            expect_first_trial(ledger, base)
        study.limits = plan.limits(base)
        with charged_to(study, ledger, "operators"):
            library = prepare_library(run, plan, study, ledger)
        with charged_to(study, ledger, "latency table"):
            known = prepare_knowledge(run, plan, study, ledger, bench, library)
        _line_up(study, plan, known)
        lost = study.recover()
        if lost:
            logger.info("resumed: trials that were under way and are run again: %d", lost)
        coordinator = _coordinator(run, plan, study, ledger)
        coordinator.only_base = nothing_to_gain(study, plan) if known.table else None
        coordinator.save()  # a killed sitting may have kept a record and not written the table
        settings = plan.settings(
            run.base_weights,
            base_latency_ms=base["latency_ms"],
            limits=study.limits,
            library=library,
        )
        console = telling.console if telling.is_live else None
        reserve_for_confirmation(study, ledger, plan.config.confirm_share)
        with (
            charged_to(study, ledger, "trials"),
            Progress(lambda: render(coordinator), coordinator.heartbeat, console) as progress,
        ):
            run_trials(coordinator, settings, plan, progress.tick, bench)
        with charged_to(study, ledger, "confirmation"):
            coordinator.finished = confirm_front(run, plan, coordinator, settings, console, bench)
    return coordinator


def _coordinator(run: RunDirectory, plan: Plan, study: SearchStudy, ledger: Ledger) -> Coordinator:
    return Coordinator(
        run,
        study,
        ledger,
        make_rule(plan.config.scheduler, plan.schedule.rungs),
        score_columns=plan.info.columns,
        sites=tuple(site.name for site in plan.space.sites),
        slots=plan.slots,
        devices_per_trial=plan.devices_per_trial,
        again=plan.confirm_schedule.epochs / plan.schedule.epochs,
        clock=time.monotonic,
    )


def _line_up(study: SearchStudy, plan: Plan, known: Knowledge) -> None:
    """Tell the study what is known, and put the first trials in the queue where that is not done yet."""
    study.inform(known.table, known.scores)
    if not study.get("lined_up"):
        study.enqueue(seed_architectures(plan.space, known.table, known.scores))
        study.set("lined_up", True)
    elif study.repeat_base():
        logger.info("resumed: the base network's trial did not come to its end and is run again")


def _open_bench(run: RunDirectory, plan: Plan) -> RemoteBench | None:
    """Make the other node ready that latency is measured on, where there is one, and note what machine it is."""
    if plan.latency_node is None:
        return None
    from spnas.search.remote import RemoteBench

    bench = RemoteBench(plan.latency_node, plan.runtime)
    described = bench.describe()
    environment = json.loads(run.environment.read_text(encoding="utf-8"))
    _write_json(run.environment, {**environment, "latency": described})
    logger.info(
        "latency is measured on node:%s: %s, %s, %s",
        *(plan.latency_node, described["host"], described["cpu"], described["device"]),
    )
    return bench


def on_cluster(plan: Plan) -> Plan:
    """Check the cluster at `--address`, where one is given; give the plan on all its nodes."""
    if plan.config.address is None:
        return plan
    from spnas.search.nodes import plan_nodes

    return plan_nodes(plan)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text_atomic(path, json.dumps(content, indent=2) + "\n")
