"""How latency is measured: candidate and base interleaved in one session, robust statistics over the rounds."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spnas.errors import ConfigError
from spnas.latency.runtimes import (
    Sample,
    Sampler,
    Session,
    check_runtime,
    default_runtime,
    get_runtime,
)

_MAD_TO_STD = (
    1.4826  # the standard deviation of a normal distribution over its median absolute deviation
)


@dataclass(frozen=True)
class Protocol:
    """How long and how often to measure; the defaults take about 2 s where a forward takes less than 20 ms.

    Attributes:
        sample_s: A sample is as many forwards in a row as fill this time, at least one; seconds.
        stable: Warm-up ends when three samples of each network in a row differ by less than this share.
        warmup_s: Warm-up ends at the latest after this time and three samples; seconds.
        rounds: Rounds to make in any case, unless the time limit is reached.
        max_rounds: Rounds to make where there is time.
        enough_s: No more than `rounds` once this time is over; seconds.
        limit_s: No more than `min_rounds` once this time is over, for networks of seconds a forward; seconds.
        min_rounds: Rounds below which there is no median worth the name.
    """

    sample_s: float = 0.02
    stable: float = 0.05
    warmup_s: float = 1.0
    rounds: int = 15
    max_rounds: int = 30
    enough_s: float = 2.0
    limit_s: float = 20.0
    min_rounds: int = 5

    def done(self, rounds: int, elapsed_s: float) -> bool:
        """Whether so many rounds in that time are enough."""
        least = self.min_rounds if elapsed_s >= self.limit_s else self.rounds
        return rounds >= (least if elapsed_s >= self.enough_s else self.max_rounds)


@dataclass(frozen=True)
class Measurement:
    """Latency of a candidate and of the base beside it.

    `ratio` is the figure to compare by. It is made of paired samples on the steadiest clock there is and so need not
    equal `latency_ms / base_latency_ms`, which are wall times.

    Attributes:
        latency_ms: Median wall time of one forward of the candidate, ms.
        latency_std_ms: Its spread over the rounds, 1.4826 times the median absolute deviation, ms.
        base_latency_ms: The same of the base, ms.
        base_latency_std_ms: The same of the base, ms.
        ratio: Median over the rounds of candidate time over base time on `clock`.
        ratio_std: Its spread over the rounds, as above.
        clock: `thread_cpu` (one CPU thread), `wall` (more threads, MPS) or `cuda_event`.
        rounds: Pairs of samples taken.
        device: Where it was measured, `cpu` or `cuda:0`.
        threads: CPU threads used.
        runtime: What ran the networks.
        dtype: Type of the numbers that the runtime works with, `float32`.
        max_error: How far the outputs in the runtime are off torch's in float32, the worse of the two networks': the
            largest difference as a share of the largest value of its channel.
    """

    latency_ms: float
    latency_std_ms: float
    base_latency_ms: float
    base_latency_std_ms: float
    ratio: float
    ratio_std: float
    clock: str
    rounds: int
    device: str
    threads: int
    runtime: str
    dtype: str
    max_error: float


@dataclass(frozen=True)
class Estimate:
    """A median with its spread.

    Attributes:
        median: The median.
        std: 1.4826 times the median absolute deviation: the standard deviation, were the values normal, whatever a
            minority of outliers says.
    """

    median: float
    std: float

    @classmethod
    def of(cls, values: ArrayLike) -> Estimate:
        """Estimate from the values, at least one."""
        data = np.asarray(values, dtype=float)
        median = np.median(data)
        return cls(float(median), float(_MAD_TO_STD * np.median(np.abs(data - median))))

    def surely_above(self, limit: float) -> bool:
        """Whether the median is above the limit by more than three times its spread."""
        return self.median - 3 * self.std > limit


def _forwards(sampler: Sampler, sample_s: float) -> int:
    """Say how many forwards fill a sample, from a second forward: the first one also sets up memory and kernels."""
    sampler(1)
    return max(1, math.ceil(sample_s / max(sampler(1).wall_s, 1e-6)))


def _stable(samples: list[Sample], share: float) -> bool:
    last = [sample.clock_s for sample in samples[-3:]]
    return len(last) == 3 and max(last) - min(last) <= share * min(last)


class _Pair:
    """Candidate and base, sampled in turn; times come per forward."""

    def __init__(self, candidate: Sampler, base: Sampler, protocol: Protocol) -> None:
        self.protocol = protocol
        self._samplers = (candidate, base)
        self._forwards = tuple(_forwards(sampler, protocol.sample_s) for sampler in self._samplers)

    def _round(self) -> tuple[Sample, Sample]:
        first, second = (
            Sample(taken.wall_s / count, taken.clock_s / count)
            for sampler, count in zip(self._samplers, self._forwards, strict=True)
            for taken in [sampler(count)]
        )
        return first, second

    def warm_up(self) -> None:
        start = time.perf_counter()
        rounds: list[tuple[Sample, Sample]] = []
        while len(rounds) < 3 or time.perf_counter() - start < self.protocol.warmup_s:
            rounds.append(self._round())
            if all(_stable(list(each), self.protocol.stable) for each in zip(*rounds, strict=True)):
                return

    def take(self, limit: float) -> list[tuple[Sample, Sample]]:
        """Sample until there is enough, or the ratio is surely above the limit."""
        start = time.perf_counter()
        taken: list[tuple[Sample, Sample]] = []
        while not self.protocol.done(len(taken), time.perf_counter() - start):
            taken.append(self._round())
            if len(taken) >= self.protocol.min_rounds and _ratio(taken).surely_above(limit):
                break
        return taken


def measure(
    candidate: nn.Module,
    base: nn.Module,
    example: Tensor,
    *,
    device: torch.device,
    threads: int = 1,
    runtime: str | None = None,
    protocol: Protocol | None = None,
    limit: float = math.inf,
    exclusive: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Measurement:
    """Measure a candidate's latency beside the base's, the two in turn so that both meet the same load.

    Both run in eval and inference mode on copies; the arguments are left as they are.

    Args:
        candidate: The candidate's deployed form.
        base: The base network's deployed form.
        example: An input `(N, C, H, W)`, float32.
        device: Where to measure.
        threads: CPU threads to run with.
        runtime: A registered runtime, the device's default where None.
        protocol: How long and how often, the default one where None.
        limit: A ratio above which nobody wants to know it exactly: measuring ends early once it is surely exceeded.
        exclusive: Makes a context that is held while times are taken, and not while the networks are made ready, such
            as `DeviceLock.exclusive`.

    Raises:
        ConfigError: There is no such runtime on the device, something it needs is missing, or `threads` is less than 1.
        SpnasError: The runtime gives another output than torch.
    """
    if threads < 1:
        raise ConfigError(f"threads: expected at least 1, got {threads}")
    name = runtime or default_runtime(device)
    check_runtime(name, device)
    with get_runtime(name)(device, threads) as session:
        samplers = session.load(candidate, example), session.load(base, example)
        with exclusive():
            pair = _Pair(*samplers, protocol or Protocol())
            pair.warm_up()
            taken = pair.take(limit)
    max_error = max(sampler.max_error for sampler in samplers)
    return _summarize(taken, session, max_error, str(device), threads)


def _ratio(taken: list[tuple[Sample, Sample]]) -> Estimate:
    return Estimate.of([own.clock_s / base.clock_s for own, base in taken])


def _summarize(
    taken: list[tuple[Sample, Sample]],
    session: Session,
    max_error: float,
    device: str,
    threads: int,
) -> Measurement:
    wall = 1e3 * np.array([[sample.wall_s for sample in both] for both in taken])
    own, other = Estimate.of(wall[:, 0]), Estimate.of(wall[:, 1])
    ratio = _ratio(taken)
    return Measurement(
        latency_ms=own.median,
        latency_std_ms=own.std,
        base_latency_ms=other.median,
        base_latency_std_ms=other.std,
        ratio=ratio.median,
        ratio_std=ratio.std,
        clock=session.clock,
        rounds=len(taken),
        device=device,
        threads=threads,
        runtime=session.runtime,
        dtype=str(session.dtype).removeprefix("torch."),
        max_error=max_error,
    )
