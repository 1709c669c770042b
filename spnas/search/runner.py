"""Runs trials with Ray Tune, and what comes before them as Ray tasks.

Only this, `adapters.py`, `cluster.py`, `nodes.py`, `parcel.py`, `remote.py` and `worker.py` import Ray, which only
executes: proposals, decisions and records are the coordinator's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

# First, since Ray reads the environment that it sets when it is imported.
from spnas.search.cluster import RayWatch, this_machine

# isort: split
import ray
from ray import tune
from ray.util.placement_group import NODE_ID_LABEL_KEY

from spnas.errors import SpnasError, WorkerLostError
from spnas.runs import RunDirectory
from spnas.search.adapters import (
    CoordinatedSearcher,
    FirstError,
    InterruptNotice,
    RungScheduler,
    StartingWorkers,
    TickCallback,
    Work,
    own_interrupts,
)
from spnas.search.nodes import NodeWatch
from spnas.search.objective import TrialSettings
from spnas.search.parcel import Parcel
from spnas.search.plan import Plan
from spnas.search.remote import RemoteBench
from spnas.search.worker import (
    BaseEvent,
    Learnt,
    evaluate_trial,
    stream_base,
    stream_knowledge,
    stream_library,
)
from spnas.training import PASSES

T = TypeVar("T")


def run_base(
    settings: TrialSettings, plan: Plan, bench: RemoteBench | None = None
) -> Iterator[BaseEvent]:
    """Prepare the base in a worker that has all the run's cores and one of its GPUs; see `stream_base`."""
    args = (settings, plan.base_schedule, plan.config.weights, bench, plan.cpus)
    return _run_alone("the base network", stream_base, plan, args)


def run_knowledge(
    settings: TrialSettings, plan: Plan, limit_s: float, bench: RemoteBench | None = None
) -> Iterator[Learnt | None]:
    """Measure the latency table and score the choices in such a worker; see `stream_knowledge`."""
    args = (settings, plan.space.choices, limit_s, bench)
    return _run_alone("the latency table", stream_knowledge, plan, args)


def run_library(
    settings: TrialSettings, plan: Plan, path: Path, limit_s: float
) -> Iterator[bool | None]:
    """Prepare the operators that trials start from in such a worker; see `stream_library`."""
    passes = PASSES if plan.config.inherit == "library" else 0
    args = (settings, plan.space.choices, passes, path.resolve(), limit_s)
    return _run_alone("the operator library", stream_library, plan, args)


def _run_alone(
    what: str, stream: Callable[..., Iterator[T]], plan: Plan, args: tuple[Any, ...]
) -> Iterator[T]:
    """Give what a worker with all the run's cores and one of its GPUs yields."""
    task = ray.remote(stream).options(
        num_cpus=plan.cpus,
        num_gpus=min(plan.gpus, 1),
        resources=this_machine(plan),
        max_retries=0,
        num_returns="streaming",
    )
    try:
        for reference in task.remote(*args):
            yield ray.get(reference)
    except ray.exceptions.RayError as error:  # in its own words, without the worker's traceback
        raised = getattr(error, "cause", None)
        if isinstance(raised, SpnasError):
            raise raised from None
        cause = raised or error
        told = " ".join(str(cause).split()) or "no reason was given"
        kind = SpnasError if raised else WorkerLostError
        raise kind(f"{what}: {type(cause).__name__}: {told:.500}") from None


def trial_resources(plan: Plan) -> tune.PlacementGroupFactory:
    """Give what Ray reserves for a trial: of a cluster's nodes those that were checked, none that joined later."""
    if not plan.nodes:
        return tune.PlacementGroupFactory([plan.resources])
    checked = ",".join(node.node_id for node in plan.nodes)
    return tune.PlacementGroupFactory(
        [plan.resources], bundle_label_selector=[{NODE_ID_LABEL_KEY: f"in({checked})"}]
    )


@contextmanager
def _workers_starting(number: int) -> Iterator[None]:
    """Have Ray Tune start so many workers at a time; half of them leaves cores for those that are up.

    By itself it starts one, and calls that off whenever an older one is free before it is up: trials shorter than a
    worker's start, some ten seconds, would run on one or two workers of however many.
    """
    name = "TUNE_MAX_PENDING_TRIALS_PG"
    before = os.environ.get(name)
    os.environ[name] = str(number)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def run_trials(
    coordinator: Work,
    settings: TrialSettings,
    plan: Plan,
    tick: Callable[[], None],
    bench: RemoteBench | None = None,
) -> None:
    """Run trials until the coordinator has finished or the user interrupts.

    Args:
        coordinator: Proposes, decides, keeps.
        settings: What every trial shares.
        plan: What a trial occupies, and when it is given up.
        tick: Called several times a second.
        bench: What latency is measured on; None for a device of the worker.

    Raises:
        SpnasError: Ray itself has ended.
        Exception: Whatever the coordinator raised.
    """
    scratch = tempfile.mkdtemp(prefix="spnas-ray-")
    first, starting = FirstError(), StartingWorkers()
    function = tune.with_parameters(
        evaluate_trial,
        settings=settings,
        bench=bench,
        run=RunDirectory(coordinator.run.path.resolve()),
        parcel=Parcel(settings) if plan.config.address else None,
    )
    watches = RayWatch().check, NodeWatch(plan.nodes, coordinator).check
    ticks = TickCallback(first, InterruptNotice(), first.check, tick, *watches)
    tuner = _tuner(function, coordinator, plan, scratch, first, [ticks, starting])
    try:
        with own_interrupts(), _workers_starting(max(1, coordinator.slots // 2)):
            tuner.fit()
    except Exception:
        if first.error is None:
            raise
    finally:
        starting.release()
        shutil.rmtree(scratch, ignore_errors=True)
    first.check()  # as it was raised, not as Ray Tune tells it


def _tuner(
    function: Callable[..., None],
    coordinator: Work,
    plan: Plan,
    scratch: str,
    first: FirstError,
    callbacks: list[tune.Callback],
) -> tune.Tuner:
    """Set Ray Tune up to run what the coordinator proposes, in workers that are kept from trial to trial."""
    return tune.Tuner(
        tune.with_resources(function, trial_resources(plan)),
        tune_config=tune.TuneConfig(
            search_alg=CoordinatedSearcher(coordinator, plan.config.trial_timeout_s, first),
            scheduler=RungScheduler(coordinator, first),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=scratch,
            verbose=0,
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
