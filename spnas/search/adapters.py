"""What Ray Tune calls while trials run: each call is handed to the coordinator, which lives in the driver.

Ray pickles searcher, scheduler and callbacks when a Tuner is made, to snapshot them; they leave the coordinator behind,
since a run is resumed from its study and never from Ray's snapshot.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Protocol

import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from spnas.latency import device_lock
from spnas.runs import RunDirectory
from spnas.search.budget import Ledger
from spnas.search.objective import Evaluation

logger = logging.getLogger("spnas")

_STARTING_S = 60.0


def _read(result: dict[str, Any] | None) -> Evaluation | None:
    return (
        Evaluation(**json.loads(result["evaluation"]))
        if result and result.get("evaluation")
        else None
    )


class Task(Protocol):
    """Something for a worker to do."""

    @property
    def task(self) -> dict[str, Any]:
        """What the worker is given."""


class Work(Protocol):
    """Who says what the workers do: a `Coordinator`, or a `Confirmer`; each piece of work has a key."""

    run: RunDirectory
    finished: str | None
    ledger: Ledger
    slots: int

    @property
    def running(self) -> Mapping[str, Any]:
        """What is under way."""

    def start(self, key: str) -> Task | None:
        """Give the next piece; None for now or, with `finished` set, for good."""

    def goes_on(self, key: str, evaluation: Evaluation) -> bool:
        """Decide at a rung."""

    def lose(self, key: str, reason: str) -> None:
        """Take note of a piece whose worker died."""

    def end(
        self,
        key: str,
        evaluation: Evaluation | None,
        error: str | None,
        seconds: float | None = None,
    ) -> object:
        """Keep what came of a piece."""


class FirstError:
    """Keeps the first error of what is called through it.

    Ray Tune raises another in its place, with its text, or takes it for a trial's and goes on.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep an error of the block, and let it go on."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            raise

    def check(self) -> None:
        """Raise it, where there is one."""
        if self.error is not None:
            raise self.error


class _StaysInDriver:
    """Pickles to an empty object: Ray's snapshots are not used."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class CoordinatedSearcher(_StaysInDriver, Searcher):
    """Hands the coordinator's proposals to Ray Tune and ended trials back.

    Args:
        coordinator: Proposes, decides, keeps.
        timeout_s: Seconds after which a trial is given up as hanging; None for what the ledger says when it starts.
        first: Keeps the first error.
    """

    def __init__(
        self, coordinator: Work, timeout_s: float | None = None, first: FirstError | None = None
    ) -> None:
        super().__init__()
        self._coordinator, self._timeout_s = coordinator, timeout_s
        self._first = first or FirstError()
        self._timeouts: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give the next trial's parameters, None to be asked again, or FINISHED."""
        with self._first.kept():
            proposal = self._coordinator.start(trial_id)
        if proposal is not None:
            timeout_s = self._timeout_s or self._coordinator.ledger.timeout_s()
            self._timeouts[trial_id] = timeout_s
            return {**proposal.task, "timeout_s": timeout_s}
        if self._coordinator.finished:
            finished: str = Searcher.FINISHED
            return finished
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep an ended trial."""
        if trial_id in self._coordinator.running:
            with self._first.kept():
                self._keep(trial_id, result or {}, error)

    def _keep(self, trial_id: str, known: dict[str, Any], error: bool) -> None:
        if error:  # the result is then the last rung's, if any
            reason = f"the worker died or did not answer within {self._timeouts[trial_id]:.0f} s"
            self._coordinator.lose(trial_id, reason)
            return
        if known.get("lost"):
            self._coordinator.lose(trial_id, known["error"])
            return
        self._coordinator.end(
            trial_id, _read(known), known.get("error") or None, known.get("seconds")
        )

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the study is the truth."""


class RungScheduler(_StaysInDriver, FIFOScheduler):
    """Stops a trial at a rung where the coordinator says so."""

    def __init__(self, coordinator: Work, first: FirstError) -> None:
        super().__init__()
        self._coordinator, self._first = coordinator, first

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide at a rung."""
        evaluation = _read(result)
        with self._first.kept():
            goes_on = (
                result.get("final", True)
                or evaluation is None
                or self._coordinator.goes_on(trial.trial_id, evaluation)
            )
        decision: str = TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP
        return decision


class TickCallback(_StaysInDriver, tune.Callback):
    """Calls functions at every turn of Ray Tune's loop."""

    def __init__(self, first: FirstError, *ticks: Callable[[], None]) -> None:
        self._first, self._ticks = first, ticks

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Call the functions."""
        with self._first.kept():
            for tick in self._ticks:
                tick()


class StartingWorkers(_StaysInDriver, tune.Callback):
    """Holds this machine's processors shared while workers start, so that no latency is measured beside their imports.

    Until every trial has its worker, or a minute at most.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._held.enter_context(device_lock(torch.device("cpu")).shared())
        self._until = time.monotonic() + _STARTING_S

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Let go of them when none waits for its worker."""
        waiting = not trials or any(trial.status == Trial.PENDING for trial in trials)
        if not waiting or time.monotonic() > self._until:
            self.release()

    def release(self) -> None:
        """Let go of them."""
        self._held.close()


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Put back what Ctrl-C did before: Ray Tune leaves its handler, which only ends its own loop, behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class InterruptNotice:
    """Tells of Ctrl-C at once, since what runs takes some seconds to end.

    A callback of Ray Tune's loop: only from its first turn on is Ray Tune's handler in place, which ends that loop and
    puts the handler before it back for a second Ctrl-C.
    """

    def __init__(self) -> None:
        self._placed = threading.current_thread() is not threading.main_thread()

    def __call__(self) -> None:
        """Take the handler's place, once."""
        if self._placed:
            return
        self._placed = True
        ends_loop = signal.getsignal(signal.SIGINT)

        def tell(number: int, frame: FrameType | None) -> None:
            logger.info("interrupted: ending what runs; Ctrl-C again leaves at once")
            if callable(ends_loop):
                ends_loop(number, frame)

        signal.signal(signal.SIGINT, tell)
