"""Whether processes that measure the same model agree, alone and beside two trainings.

Run `python benchmarks/latency_repeatability.py > benchmarks/results/latency_repeatability.md`; about 10 minutes on two
cores that do nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import nn

from spnas.architecture import Architecture, Choice
from spnas.latency import DeviceLock, Measurement, measure
from spnas.networks import apply_architecture, deploy_model
from spnas.search.environment import machine_line
from spnas.spaces import load_space

MODELS = {
    "yolov8n, spconv:0.5, 320 px, batch 1": ("yolov8n", "spconv:0.5", (1, 3, 320, 320)),
    "resnet20-cifar, ghost:0.5, 32 px, batch 32": ("resnet20-cifar", "ghost:0.5", (32, 3, 32, 32)),
}
RUNTIMES = ("onnxruntime", "torch")
ALONE, BESIDE, LOCKED = "alone", "beside two trainings", "beside two trainings, with the lock"
CONDITIONS = (ALONE, BESIDE, LOCKED)
NICENESS = 15  # of Ray's workers


@dataclass(frozen=True)
class Finding:
    """One measurement in one process, with the load average when it began."""

    model: str
    runtime: str
    condition: str
    load: float
    measurement: Measurement

    @property
    def wall_ratio(self) -> float:
        """What one would read from the two wall times."""
        return self.measurement.latency_ms / self.measurement.base_latency_ms


def measure_all(lock: DeviceLock | None) -> None:
    """Measure every model in every runtime and print what is found, one JSON a line."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for model, (network, choice, shape) in MODELS.items():
        space = load_space(network)
        torch.manual_seed(0)
        forms = [
            deploy_model(
                apply_architecture(
                    space.network.build(space.network.default_classes).eval(), architecture
                )
            )
            for architecture in (space.uniform(Choice.parse(choice)), Architecture())
        ]
        for runtime in RUNTIMES:
            load = os.getloadavg()[0]
            found = measure(
                *forms,
                torch.rand(shape),
                device=torch.device("cpu"),
                runtime=runtime,
                exclusive=lock.exclusive if lock else contextlib.nullcontext,
            )
            facts = {"model": model, "runtime": runtime, "load": load, "found": asdict(found)}
            print(json.dumps(facts), flush=True)


def train_for_ever(lock: DeviceLock) -> None:
    """Train a small convolutional network on random images, on one thread, as nice as a search's workers are."""
    os.nice(NICENESS)
    torch.set_num_threads(1)

    def block(channels: int, out: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.SiLU()]

    layers = [*block(3, 32, 2), *block(32, 64, 2), *block(64, 128, 2), *block(128, 128, 1)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.rand(16, 3, 160, 160), torch.randint(10, (16,))
    while True:
        with lock.shared():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()


@contextlib.contextmanager
def trainings(count: int, lock: DeviceLock) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start so many trainings and wait until they train; end them afterwards."""
    command = [sys.executable, __file__, "--train", str(lock.directory)]
    started = [subprocess.Popen(command) for _ in range(count)]
    try:
        time.sleep(20)
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def findings(processes: int, lock: DeviceLock) -> Iterator[Finding]:
    """Measure in so many processes under each condition, these in turn; trainings pause while one measures alone."""
    with trainings(2, lock) as started:
        for number in range(processes):
            for condition in CONDITIONS:
                for training in started:
                    training.send_signal(signal.SIGSTOP if condition == ALONE else signal.SIGCONT)
                command = [sys.executable, __file__, "--measure"]
                if condition == LOCKED:
                    command += [str(lock.directory)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                for line in output.splitlines():
                    facts = json.loads(line)
                    found = Measurement(**facts.pop("found"))
                    yield Finding(condition=condition, measurement=found, **facts)
                print(f"{number + 1} of {processes}, {condition}", file=sys.stderr, flush=True)


def variation(values: list[float]) -> str:
    """Give the coefficient of variation."""
    return f"{statistics.stdev(values) / statistics.mean(values):.2%}"


def row(condition: str, found: list[Finding]) -> str:
    ratios = [each.measurement.ratio for each in found]
    middle = statistics.median(ratios)
    lows_highs = [(each.measurement.ratio_low, each.measurement.ratio_high) for each in found]
    cells = [
        condition,
        f"{middle:.4f}",
        variation(ratios),
        variation([each.wall_ratio for each in found]),
        variation([each.measurement.base_latency_ms for each in found]),
        f"{statistics.median((high - low) / 2 / middle for low, high in lows_highs):.2%}",
        f"{sum(low <= middle <= high for low, high in lows_highs)} of {len(found)}",
        f"{sum(each.measurement.warning is not None for each in found)}",
        f"{min(each.load for each in found):.1f} to {max(each.load for each in found):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def report(found: list[Finding], processes: int) -> None:
    print("# Repeatability of the latency ratio\n")
    print(
        f"{processes} processes under each condition measure the same model beside its base, one thread each, one "
        f"process at a time; the trainings run at nice {NICENESS}, as Ray's workers do, on one thread each. *With the "
        "lock* the measurement takes the device lock, as in a search, so that the trainings wait; else they run on. "
        "*CV* is the coefficient of variation over the processes: of `latency_ratio` (CPU time of the thread, paired), "
        "of the quotient of the two wall times, and of the base's wall time itself. *Interval* is the median "
        "half-width of the 95% interval that a measurement states for itself, *holds* in how many processes that "
        "interval holds the median over the processes, *load* the range of load averages over one minute."
    )
    header = ("", "ratio", "CV ratio", "CV wall ratio", "CV base, wall")
    header += ("interval", "holds", "warnings", "load")
    for model in MODELS:
        for runtime in RUNTIMES:
            print(f"\n## {model}, {runtime}\n")
            print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
            these = [each for each in found if (each.model, each.runtime) == (model, runtime)]
            for condition in CONDITIONS:
                print(row(condition, [each for each in these if each.condition == condition]))
            print(row("pooled", these))
    print(f"\n{machine_line(torch.device('cpu'))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--processes", type=int, default=10, help="processes for each condition; default: 10"
    )
    parser.add_argument("--measure", metavar="FOLDER", nargs="?", const="", help=argparse.SUPPRESS)
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train is not None:
        train_for_ever(DeviceLock(args.train))
    elif args.measure is not None:
        measure_all(DeviceLock(args.measure) if args.measure else None)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report(list(findings(args.processes, DeviceLock(folder))), args.processes)


if __name__ == "__main__":
    main()
