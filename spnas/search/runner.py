"""Runs trials with Ray Tune on one machine. Only this and `worker.py` import Ray.

Ray only executes. Proposals, decisions and records are the coordinator's, which lives in the driver: the classes below
hand Ray's calls to it. Ray pickles searcher, scheduler and callbacks when a Tuner is made, to snapshot them; they leave
the coordinator behind, since a run is resumed from its study and never from Ray's snapshot.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spnas.errors import SpnasError
from spnas.search.coordinator import Coordinator
from spnas.search.objective import Evaluation, TrialSettings
from spnas.search.plan import Plan

# Ray and Ultralytics read these when they are imported, here and in the workers: no telemetry, no result files of
# their own, no bars, no word about workers that were ended on purpose; the user's working directory, which relative
# paths start from; time for a stopped trial to wind up before its worker takes the next one; no lower priority, which
# would slow trainings beside any other load; threads that wait without spinning, 5 times faster on 2 busy cores.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_worker_niceness": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from spnas.search.worker import BaseEvent, evaluate_trial, stream_base  # noqa: E402


def _read(result: dict[str, Any] | None) -> Evaluation | None:
    return (
        Evaluation(**json.loads(result["evaluation"]))
        if result and result.get("evaluation")
        else None
    )


class _StaysInDriver:
    """Pickles to an empty object: Ray's snapshots are not used."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class CoordinatedSearcher(_StaysInDriver, Searcher):
    """Hands the coordinator's proposals to Ray Tune and ended trials back."""

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__()
        self._coordinator = coordinator

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give the next trial's parameters, None to be asked again, or FINISHED."""
        proposal = self._coordinator.start(trial_id)
        if proposal is not None:
            return {"trial": proposal.trial, "architecture": proposal.architecture.text}
        if self._coordinator.finished:
            finished: str = Searcher.FINISHED
            return finished
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep an ended trial."""
        if trial_id not in self._coordinator.running:
            return
        if error:  # the result is then the last rung's, if any
            self._coordinator.lose(trial_id)
            return
        known = result or {}
        self._coordinator.end(
            trial_id, _read(result), known.get("error") or None, known.get("seconds")
        )

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the study is the truth."""


class RungScheduler(_StaysInDriver, FIFOScheduler):
    """Stops a trial at a rung where the coordinator says so."""

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__()
        self._coordinator = coordinator

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide at a rung."""
        evaluation = _read(result)
        goes_on = (
            result.get("final", True)
            or evaluation is None
            or self._coordinator.goes_on(trial.trial_id, evaluation)
        )
        decision: str = TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
        return decision


class TickCallback(_StaysInDriver, tune.Callback):
    """Calls a function at every turn of Ray Tune's loop."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Call the function."""
        self._tick()


@contextmanager
def ray_cluster(cpus: int, gpus: int, visible_gpu: str | None = None) -> Iterator[None]:
    """Start a private Ray on 127.0.0.1 for the time of a search.

    Args:
        cpus: Cores it may give away.
        gpus: GPUs it may give away.
        visible_gpu: The one GPU it may use, as CUDA_VISIBLE_DEVICES names it; None for all that are visible.
    """
    if visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu
    for name in ("ray", "ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
        _node_ip_address="127.0.0.1",
    )
    try:
        yield
    finally:
        ray.shutdown()


def run_base(settings: TrialSettings, plan: Plan) -> Iterator[BaseEvent]:
    """Train the base in a worker that has all the run's cores and one of its GPUs; see `stream_base`."""
    task = ray.remote(stream_base).options(
        num_cpus=plan.cpus, num_gpus=min(plan.gpus, 1), max_retries=0, num_returns="streaming"
    )
    try:
        for reference in task.remote(settings, plan.base_schedule, plan.config.weights):
            yield ray.get(reference)
    except ray.exceptions.RayError as error:  # in its own words, without the worker's traceback
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, SpnasError):
            raise cause from None
        told = " ".join(str(cause).split()) or "no reason was given"
        raise SpnasError(f"the base network: {type(cause).__name__}: {told:.500}") from None


def run_trials(
    coordinator: Coordinator,
    settings: TrialSettings,
    resources: dict[str, float],
    timeout_s: float,
    tick: Callable[[], None],
) -> None:
    """Run trials until the coordinator has finished or the user interrupts.

    Args:
        coordinator: Proposes, decides, keeps.
        settings: What every trial shares.
        resources: `cpu` and `gpu` that a trial occupies.
        timeout_s: Seconds after which a trial is given up.
        tick: Called several times a second.
    """
    scratch = tempfile.mkdtemp(prefix="spnas-ray-")
    function = tune.with_parameters(evaluate_trial, settings=settings, timeout_s=timeout_s)
    tuner = tune.Tuner(
        tune.with_resources(function, resources),
        tune_config=tune.TuneConfig(
            search_alg=CoordinatedSearcher(coordinator),
            scheduler=RungScheduler(coordinator),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=scratch,
            verbose=0,
            callbacks=[TickCallback(tick)],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
