"""What the driver of a search can take, with trials that take no time: suggestions, records, memory, Ray's part.

Run `python benchmarks/scale.py`; about half an hour on one core, most of it to fill a study with 10,000 trials. Writes
benchmarks/results/scale.md.
"""

from __future__ import annotations

import copy
import json
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import torch
from made_up_world import EPOCHS, World
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from ray import tune

from spnas.latency import count
from spnas.networks import apply_architecture, get_network
from spnas.runs import RunDirectory, TrialRecord
from spnas.search import runner
from spnas.search.budget import Budget, Ledger
from spnas.search.cluster import ray_cluster
from spnas.search.config import SamplerName, SchedulerName, SearchConfig
from spnas.search.coordinator import Coordinator, now
from spnas.search.environment import machine_line
from spnas.search.limits import Limits
from spnas.search.plan import make_plan
from spnas.search.scheduler import make_rule
from spnas.search.storage import record_to_json
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace, load_space

_RESULT = Path(__file__).parent / "results" / "scale.md"
_SIZES = (100, 1_000, 10_000)
_CONCURRENT = 64
_ENDED = 6  # trials that end, and are followed by others, at each size
_SUGGESTED = 8  # of those under way at first; the others are put into the queue, which is faster
_LIMIT = 0.95  # latency ratio


@dataclass
class Times:
    """Seconds of the driver's steps."""

    start: list[float] = field(default_factory=list)
    rung: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Add the CPU seconds of the process inside, which other load leaves alone."""
    started = time.process_time()
    yield
    seconds.append(time.process_time() - started)


def open_run(
    folder: Path,
    world: World,
    sampler: SamplerName,
    scheduler: SchedulerName = "promise",
    budget: str = "1000000trials",
    slots: int = _CONCURRENT,
) -> Coordinator:
    """Open a run's study as a search does, resumed where it is there."""
    space = world.space
    if (folder / "run").exists():
        run = RunDirectory.open(folder / "run")
    else:
        run = RunDirectory.create(folder, "run")
        run.config.write_text("space: scale\nbudget: 1m\n")
    study = SearchStudy(run.study, space, "map50_95", seed=0, sampler=sampler)
    study.inform(world.table(), None)
    study.limits = Limits(latency_ratio=_LIMIT)
    study.recover()
    return Coordinator(
        run,
        study,
        Ledger(Budget.parse(budget), slots),
        make_rule(scheduler, (1,)),
        score_columns=("map50_95", "map50"),
        sites=tuple(site.name for site in space.sites),
        slots=slots,
        devices_per_trial=1.0,
        again=2.0,
        clock=time.monotonic,
    )


def fill(coordinator: Coordinator, world: World, until: int) -> None:
    """Put complete trials of random architectures into the study, each in one piece and not step by step."""
    study, names = coordinator.study, world.space.variables
    params = {
        name: CategoricalDistribution([str(c) for c in given]) for name, given in names.items()
    }
    for number in range(len(study.records), until):
        architecture = world.draw()
        found = world.evaluate(architecture)
        record = TrialRecord(
            number, "complete", architecture, started=now(), finished=now(), **vars(found)
        )
        study._study.add_trial(
            create_trial(
                values=[found.scores["map50_95"], found.latency_ms],
                params={name: str(architecture[name]) for name in names},
                distributions=params,
                user_attrs={
                    "trial": number,
                    "architecture": architecture.text,
                    "origin": "sampler",
                    "rung:1": [found.scores["map50_95"] - 0.02, found.latency_ms],
                    "record": record_to_json(record),
                },
            )
        )


def run_trials(coordinator: Coordinator, world: World, until: int, times: Times) -> None:
    """Run trials, always as many at a time as there are slots, the oldest ending first, until so many have ended."""
    keys = (str(number) for number in range(10**9))
    ended = len(coordinator.records)
    while ended < until:
        while len(coordinator.running) < coordinator.slots:
            with timed(times.start):
                proposal = coordinator.start(next(keys))
            assert proposal is not None, coordinator.finished
        key, trial = next(iter(coordinator.running.items()))
        rung = world.evaluate(trial.proposal.architecture, 1)
        with timed(times.rung):
            goes_on = coordinator.goes_on(key, rung)
        final = world.evaluate(trial.proposal.architecture) if goes_on else None
        with timed(times.end):
            coordinator.end(key, final, None)
        ended += 1


@dataclass(frozen=True)
class Row:
    """What was measured at a size; CPU seconds of the driver, medians."""

    trials: int
    open_s: float
    suggest_s: float
    rung_s: float
    end_s: float
    memory_mb: float
    study_mb: float


def measure_driver(folder: Path, world: World, trials: int) -> Row:
    """Resume a run of so many trials, start as many as run at a time, let some of them end and others follow."""
    times, opened = Times(), []
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(folder / "run", Path(place) / "run")
        before = psutil.Process().memory_info().rss
        with timed(opened):
            coordinator = open_run(Path(place), world, "latency-aware")
        queued = [world.draw() for _ in range(_CONCURRENT - _SUGGESTED)]
        coordinator.study.enqueue([(architecture, "sampler") for architecture in queued])
        run_trials(coordinator, world, trials + _ENDED, times)
        grown = psutil.Process().memory_info().rss - before
        size = coordinator.run.study.stat().st_size
        coordinator.study.close()
    return Row(
        trials,
        opened[0],
        statistics.median(times.start[len(queued) :]),
        statistics.median(times.rung),
        statistics.median(times.end[1:]),  # the first of a sitting writes the whole table
        grown / 1e6,
        size / 1e6,
    )


def measure_rules(world: World, trials: int) -> dict[str, float]:
    """Time what each rule takes to judge a trial at a rung after so many others, CPU seconds."""
    found = {}
    for name in ("promise", "epsilon-net"):
        rule = make_rule(name, (1,))
        for number in range(trials):
            known = world.evaluate(world.draw())
            point = known.scores["map50_95"], known.latency_ms or 0.0
            rule.add(number, 1, *point)
            rule.complete(number, *point)
        judged: list[float] = []
        for number in range(5):
            with timed(judged):
                rule.goes_on(trials + number, 1, 0.4, 20.0)
        found[name] = statistics.median(judged)
    return found


def instant(config: dict[str, Any], **_: Any) -> None:
    """Stand in for a worker's trial, taking no time."""
    found = {"epochs": EPOCHS, "scores": {"map50_95": 0.3, "map50": 0.4}, "latency_ms": 20.0}
    evaluation = json.dumps({**found, "latency_ratio": 0.7})
    tune.report({"evaluation": evaluation, "error": "", "final": True, "seconds": 0.0})


def measure_ray(world: World, trials: int = 60) -> tuple[float, float]:
    """Run instant trials one after another through Ray Tune; give median seconds a trial, wall and the driver's CPU."""
    config = SearchConfig(space="yolov8n", budget=f"{trials}trials", cpus=1, device="cpu")
    plan = make_plan(config)
    runner.evaluate_trial = instant  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(Path(folder), world, "random", "none", config.budget, slots=1)
        marks: list[tuple[float, float]] = []

        def mark() -> None:
            if len(run.records) > len(marks):
                marks.append((time.perf_counter(), time.process_time()))

        with ray_cluster(plan):
            runner.run_trials(run, plan.settings(Path(folder)), plan, mark)
        run.study.close()
    pairs = pairwise(marks[5:])  # the first ones wait for the worker
    wall, cpu = zip(*((b[0] - a[0], b[1] - a[1]) for a, b in pairs), strict=True)
    return statistics.median(wall), statistics.median(cpu)


def measure_evaluator(space: SearchSpace, imgsz: int = 640) -> dict[str, float]:
    """Time what an evaluator does beside training, validation and latency, CPU seconds: assemble and count."""
    base = get_network(space.base).build(80)
    times: dict[str, list[float]] = {"assemble": [], "count": []}
    for choice in space.uniform_choices()[:4]:
        with timed(times["assemble"]):
            model = apply_architecture(copy.deepcopy(base), space.uniform(choice))
        with timed(times["count"]):
            count(model, imgsz)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def report(
    rows: list[Row],
    rules: dict[int, dict[str, float]],
    ray_s: tuple[float, float],
    evaluator: dict[str, float],
) -> str:
    """Give the result as Markdown."""
    lines = [
        "# The driver at scale",
        "",
        f"Space yolov8n (39 sites), sampler `latency-aware` with a latency table, {_CONCURRENT} trials under way that",
        "take no time. CPU seconds of the driver, one thread, medians; memory is what the process grew by.",
        "",
        "| trials ended | a suggestion | an end recorded | a rung judged and kept | trials a second | resuming "
        "| memory, MB | study.db, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = 1 / (row.suggest_s + row.end_s + row.rung_s)
        lines.append(
            f"| {row.trials:,} | {row.suggest_s:.2f} | {row.end_s:.3f} | {row.rung_s:.3f} | {rate:.2f} "
            f"| {row.open_s:.1f} | {row.memory_mb:.0f} | {row.study_mb:.0f} |"
        )
    lines += ["", "| trials at the rung | `promise`, s | `epsilon-net`, s |", "|---|---|---|"]
    for trials, found in rules.items():
        lines.append(f"| {trials:,} | {found['promise']:.4f} | {found['epsilon-net']:.4f} |")
    lines += [
        "",
        "## What a trial costs beyond training, validation and latency",
        "",
        "| yolov8n, 640 px | s |",
        "|---|---|",
        f"| from one instant trial's end to the next one's, worker reused, sampler `random`: wall | {ray_s[0]:.2f} |",
        f"| the same: the driver's CPU time | {ray_s[1]:.2f} |",
        f"| the network assembled, CPU time | {evaluator['assemble']:.2f} |",
        f"| parameters and MACs counted, CPU time | {evaluator['count']:.2f} |",
        "",
        machine_line(torch.device("cpu")),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    logging.getLogger("spnas").setLevel(logging.ERROR)
    space = load_space("yolov8n")
    world = World(space)
    ray_s, evaluator = measure_ray(world), measure_evaluator(space)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for trials in _SIZES:
            coordinator = open_run(Path(folder), world, "random")
            fill(coordinator, world, trials)
            coordinator.study.close()
            rows.append(measure_driver(Path(folder), world, trials))
            print(rows[-1], flush=True)
    rules = {trials: measure_rules(world, trials) for trials in _SIZES}
    _RESULT.write_text(report(rows, rules, ray_s, evaluator), encoding="utf-8")


if __name__ == "__main__":
    main()
