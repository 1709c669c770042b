"""How fast the proxy training is beside Ultralytics' own trainer, in turn with it, from the same weights.

Run `python benchmarks/proxy_throughput.py --data bccd/data.yaml > benchmarks/results/proxy_throughput.md`; about 5
minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spnas.device import resolve_device
from spnas.networks import get_network, load_base_weights
from spnas.search.environment import machine_line
from spnas.tasks import Score, Task, check_data, open_task
from spnas.training import Schedule, base_schedule, proxy_schedule, train


@dataclass
class Trial:
    """Seconds of one trial: all of it, its training epochs, its validations; and its mAP50-95.

    `scoring` is that part of the validations in which images are scored: ours re-estimate BatchNorm statistics before.
    `alone` is all of it in a process of its own, as Ultralytics' tuner starts each trial.
    """

    total: float
    training: float
    validation: float
    scoring: float
    score: float
    alone: float = 0.0


class Clock:
    """CPU seconds of the process on a CPU, where others' work does not count, else wall seconds."""

    def __init__(self, device: torch.device) -> None:
        self.counts_cpu = device.type == "cpu"
        self.name = "CPU seconds" if self.counts_cpu else "wall seconds"
        self._device = device

    def __call__(self) -> float:
        """Give the seconds so far."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.process_time() if self.counts_cpu else time.perf_counter()


def our_trial(base: nn.Module, task: Task, schedule: Schedule, seed: int, clock: Clock) -> Trial:
    """Train a copy of the base as a search's trial does; each validation re-estimates BatchNorm statistics first."""
    started = clock()
    model = copy.deepcopy(base)
    marks = [clock()]

    def mark(*_: Any) -> bool:
        marks.append(clock())
        return True

    scored: list[float] = []
    with timed_scoring(task, clock, scored):
        result = train(model, task, schedule, seed=seed, progress=mark, report=mark)
    spans = [b - a for a, b in pairwise(marks)]
    training, validation = sum(spans[::2]), sum(spans[1::2])
    return Trial(clock() - started, training, validation, sum(scored), result.score.value)


@contextlib.contextmanager
def timed_scoring(task: Task, clock: Clock, seconds: list[float]) -> Iterator[None]:
    """Add the seconds of each scoring meanwhile."""
    evaluate = task.evaluate

    def timed(model: nn.Module) -> Score:
        started = clock()
        score = evaluate(model)
        seconds.append(clock() - started)
        return score

    vars(task)["evaluate"] = timed
    try:
        yield
    finally:
        del vars(task)["evaluate"]


def stock_trial(base: nn.Module, args: dict[str, Any], clock: Clock) -> Trial:
    """Train from the same weights with `YOLO.train`, images cached in memory, nothing plotted."""
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer

    class FromBase(DetectionTrainer):
        def get_model(self, *given: Any, **more: Any) -> Any:
            model = super().get_model(*given, **more)
            model.load_state_dict(base.state_dict())
            return model

    marks: dict[str, list[float]] = {}
    yolo = YOLO("yolov8n.yaml", verbose=False)
    for event in ("on_train_epoch_start", "on_train_epoch_end", "on_fit_epoch_end"):
        yolo.add_callback(event, lambda _, event=event: marks.setdefault(event, []).append(clock()))
    started = clock()
    yolo.train(trainer=FromBase, **args)
    total = clock() - started
    begun, ended, scored = marks.values()
    training = sum(b - a for a, b in zip(begun, ended, strict=True))
    validation = sum(b - a for a, b in zip([*ended, scored[-2]], scored, strict=True))
    score = float(yolo.trainer.validator.metrics.box.map)
    return Trial(total, training, validation, validation, score)


def process_trial(args: dict[str, Any], clock: Clock) -> float:
    """Give the seconds of the same training in a new process."""
    code = f"from ultralytics import YOLO; YOLO('yolov8n.yaml').train(**{args!r})"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if clock.counts_cpu:
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started


@contextlib.contextmanager
def silence() -> Iterator[None]:
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def rounds(
    args: argparse.Namespace, device: torch.device, clock: Clock, folder: Path
) -> tuple[list[Trial], list[Trial], int]:
    """Run both in turn; the first round of each, which imports and warms up, is left out."""
    data = shutil.copytree(Path(args.data).parent, folder / "data") / Path(args.data).name
    info = check_data("detect", str(data))
    task = open_task("detect", str(data), imgsz=args.imgsz, device=device)
    torch.manual_seed(0)
    base = get_network("yolov8n").build(info.num_classes).to(device)
    task.attach(base)
    if args.weights:
        load_base_weights(base, args.weights)
    else:
        train(base, task, base_schedule("detect"), seed=0)
    schedule = Schedule(
        args.epochs, tuple(range(1, args.epochs)), args.batch, proxy_schedule("detect").lr
    )
    shared = {"data": str(data), "imgsz": args.imgsz, "batch": args.batch, "epochs": args.epochs}
    quiet = {"plots": False, "verbose": False, "cache": "ram", "amp": False, "project": str(folder)}
    place = {"device": device.index if device.index is not None else device.type, "workers": 0}
    ours, stock = [], []
    for seed in range(args.rounds + 1):
        ours.append(our_trial(base, task, schedule, seed, clock))
        given = {**shared, **quiet, **place, "seed": seed}
        with silence():
            stock.append(stock_trial(base, given, clock))
        stock[-1].alone = process_trial(given, clock)
        torch.set_num_threads(args.threads)  # which Ultralytics changes
        ours[-1].alone = ours[-1].total  # a search's workers live on
    return ours[1:], stock[1:], info.train_images


def spread(values: list[float], digits: int = 2) -> str:
    """Give the median and the range."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def report(ours: list[Trial], stock: list[Trial], images: int) -> None:
    """Print the table: a figure a row, and the ratio within each round."""

    def row(name: str, figure: Callable[[Trial], float], digits: int, faster: bool | None) -> None:
        a, b = [figure(t) for t in ours], [figure(t) for t in stock]
        ratios = [x / y if faster else y / x for x, y in zip(a, b, strict=True)]
        last = "" if faster is None else spread(ratios)
        print(f"| {name} | {spread(a, digits)} | {spread(b, digits)} | {last} |")

    print("| | spnas | Ultralytics | times better |\n|---|---|---|---|")
    row("images a second of training", lambda t: images / t.training, 1, True)
    row("a trial, s", lambda t: t.total, 2, False)
    row("a trial where Ultralytics starts a process for each, s", lambda t: t.alone, 2, False)
    row("its training, s", lambda t: t.training, 2, False)
    row("its validations, s", lambda t: t.validation, 2, False)
    row("of these without BatchNorm statistics, s", lambda t: t.scoring, 2, False)
    row("all else, s", lambda t: t.total - t.training - t.validation, 3, False)
    row("mAP50-95 at the end", lambda t: t.score, 3, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a data.yaml; its folder is copied")
    parser.add_argument("--weights", help="of the trained base; trained first without")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    device = resolve_device(args.device)
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        ours, stock, images = rounds(args, device, clock, Path(folder))

    print("# The proxy training beside Ultralytics' trainer\n")
    print(
        f"yolov8n on {Path(args.data).parent.name} ({images} training images), {args.imgsz} px, "
        f"batch {args.batch}, {args.epochs} epochs from the same trained weights, validated after each; "
        f"{args.rounds} rounds, one of each in turn, in one process, after a first round that is not "
        f"counted. {clock.name}; median (range).\n"
    )
    report(ours, stock, images * args.epochs)
    print(f"\n{machine_line(device, args.threads)}")


if __name__ == "__main__":
    main()
