"""What runs in a Ray worker: one trial after another, on an evaluator that is made once."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from ray import tune

from spnas.architecture import Architecture, Choice
from spnas.errors import DeviceLostError
from spnas.latency import LatencyTable, device_lock
from spnas.plugins import load_plugins
from spnas.runs import RunDirectory
from spnas.search.objective import AnyBench, Evaluation, Evaluator, TrialSettings
from spnas.search.parcel import Parcel
from spnas.search.preparation import (
    measure_table,
    prepare_operators,
    score_choices,
    train_base,
)
from spnas.search.trial_log import trial_log
from spnas.training import Schedule, Scores

logger = logging.getLogger("spnas")

T = TypeVar("T")
E = TypeVar("E")

# After each epoch its number and mean loss; None now and then between; at last the facts of `train_base`.
BaseEvent = tuple[int, float] | None | dict[str, Any]
# The latency table, None where it was given up, and the choices' scores, or why there are none.
Learnt = tuple[LatencyTable | None, Scores | str]
_SIGN_OF_LIFE_S = 2.0

_evaluators: dict[TrialSettings, Evaluator] = {}


def evaluate_trial(
    config: dict[str, Any],
    settings: TrialSettings,
    bench: AnyBench | None = None,
    run: RunDirectory | None = None,
    parcel: Parcel | None = None,
) -> None:
    """Run one trial and report it to Ray Tune.

    What goes wrong is reported too, so that the worker lives on: a new one takes ten seconds to import everything.

    Args:
        config: The trial's number, its architecture's text and the seconds after which the process ends itself, should
            the trial hang; for a re-evaluation the seed too, and whether to measure latency.
        settings: What every trial of the run shares.
        bench: What latency is measured on; None for a device of this process.
        run: Where the trial's log goes; None, or a folder that this node does not have, for nowhere.
        parcel: The files that the settings name, where this node may not have them.
    """
    log = None
    if run is not None and run.path.is_dir():
        log = run.trial_log(config["trial"], config.get("number"))
    with trial_log(log):
        final = _evaluate_and_tell(config, settings, bench, parcel)
    tune.report(final)


def _evaluate_and_tell(
    config: dict[str, Any],
    settings: TrialSettings,
    bench: AnyBench | None,
    parcel: Parcel | None,
) -> dict[str, Any]:
    """Evaluate; give what Ray Tune is told at the end."""
    faulthandler.dump_traceback_later(config["timeout_s"], exit=True)
    started = time.perf_counter()
    final: dict[str, Any]
    try:
        load_plugins()
        evaluator = _evaluators.get(settings)
        if evaluator is None:
            here = parcel.unpacked(settings) if parcel else contextlib.nullcontext(settings)
            # Nor is a latency measured beside the reading of the data.
            with here as found, device_lock(torch.device("cpu")).shared():
                evaluator = _evaluators.setdefault(settings, Evaluator(found, bench))
            started = time.perf_counter()  # only a worker's first trial waits for this
        result = _evaluate(evaluator, config)
        final = {"evaluation": json.dumps(asdict(result)), "error": ""}
    except torch.AcceleratorError:
        raise  # the process can use its GPU no more: Ray starts a new one
    except DeviceLostError as error:
        final = {"evaluation": "", "error": str(error), "lost": True}
    except Exception as error:
        logger.exception("trial %s failed", config["trial"])
        final = {"evaluation": "", "error": " ".join(f"{type(error).__name__}: {error}".split())}
    finally:
        faulthandler.cancel_dump_traceback_later()
    return {**final, "final": True, "seconds": time.perf_counter() - started}


def _evaluate(evaluator: Evaluator, config: dict[str, Any]) -> Evaluation:
    """Do what the coordinator asks for: a trial, or with a seed the re-evaluation of one."""
    architecture = Architecture.from_text(config["architecture"])
    if "seed" in config:
        return evaluator.confirm(architecture, config["seed"], latency=config["latency"])
    return evaluator.evaluate(architecture, _report_rung)


def _report_rung(evaluation: Evaluation) -> bool:
    """Tell the driver of a rung; returns only when the trial goes on, Ray ends the thread otherwise."""
    tune.report({"evaluation": json.dumps(asdict(evaluation)), "error": "", "final": False})
    return True


def stream_base(
    settings: TrialSettings,
    schedule: Schedule | None,
    weights: str | None,
    bench: AnyBench | None = None,
    threads: int | None = None,
) -> Iterator[BaseEvent]:
    """Prepare the base network as `train_base` does, telling of each epoch, so that the driver can follow and stop it.

    Yields:
        `(epochs done, mean loss)` after each epoch; None where nothing happened for two seconds, so that the driver can
        look at its clock; at last what `train_base` returns.
    """

    def work(tell: Callable[[tuple[int, float]], None]) -> dict[str, Any]:
        def note(epochs: int, loss: float) -> None:
            tell((epochs, loss))

        return train_base(settings, schedule, weights, note, bench, threads)

    yield from _stream(work)  # not returned: Ray asks for a generator function


def stream_knowledge(
    settings: TrialSettings,
    choices: Mapping[str, Sequence[Choice]],
    limit_s: float,
    bench: AnyBench | None = None,
) -> Iterator[Learnt | None]:
    """Measure the latency table as `measure_table` does, and score the choices as `score_choices` does.

    Yields:
        None where nothing happened for two seconds; at last both.
    """

    def work(_tell: Callable[[None], None]) -> Learnt:
        table = measure_table(settings, choices, limit_s, bench)
        try:
            return table, score_choices(settings, choices)
        except Exception as error:  # an operator that cannot train; its trials will tell
            return table, " ".join(f"{type(error).__name__}: {error}".split())

    yield from _stream(work)


def stream_library(
    settings: TrialSettings,
    choices: Mapping[str, Sequence[Choice]],
    passes: int,
    path: Path,
    limit_s: float,
) -> Iterator[bool | None]:
    """Prepare the operators that trials start from, as `prepare_operators` does.

    Yields:
        None where nothing happened for two seconds; at last whether they were written.
    """

    def work(_tell: Callable[[None], None]) -> bool:
        return prepare_operators(settings, choices, passes, path, limit_s)

    yield from _stream(work)


def _stream(work: Callable[[Callable[[E], None]], T]) -> Iterator[E | T | None]:
    """Do some work in a thread, since its callbacks cannot yield; give what it tells, and its result at last."""
    events: queue.SimpleQueue[tuple[bool, E | T] | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            load_plugins()
            events.put((True, work(lambda event: events.put((False, event)))))
        except BaseException as error:
            events.put(error)

    threading.Thread(target=run, daemon=True).start()
    while True:
        try:
            event = events.get(timeout=_SIGN_OF_LIFE_S)
        except queue.Empty:
            yield None
            continue
        if isinstance(event, BaseException):
            raise event
        last, told = event
        yield told
        if last:
            return
