"""Clocks that ratios of latencies are made of, one for each kind of device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from spnas.latency.runtimes.base import Sample

# Runs one forward and gives its output, maybe before a device is done with it.
Forward = Callable[[], object]


@dataclass(frozen=True)
class Clock:
    """A way to time forwards.

    Attributes:
        name: Its name, `thread_cpu`, `wall` or `cuda_event`.
        seconds: Runs so many forwards, waiting for the result of each, and gives the seconds they took together.
    """

    name: str
    seconds: Callable[[Forward, int], float]

    def sample(self, forward: Forward, forwards: int) -> Sample:
        """Time forwards on this clock and on the wall clock."""
        start = time.perf_counter()
        seconds = self.seconds(forward, forwards)
        return Sample(time.perf_counter() - start, seconds)


def cpu_clock(threads: int) -> Clock:
    """Give the clock for a runtime that does the work of one thread in the calling thread.

    CPU time of that thread does not count what other processes take from it. That of several threads would add up.
    """
    return Clock("thread_cpu", _read(time.thread_time)) if threads == 1 else wall_clock()


def wall_clock(wait: Callable[[], object] = lambda: None) -> Clock:
    """Give the wall clock, with what waits for the device after each forward."""
    return Clock("wall", _read(time.perf_counter, wait))


def _read(
    clock: Callable[[], float], wait: Callable[[], object] = lambda: None
) -> Callable[[Forward, int], float]:
    def seconds(forward: Forward, forwards: int) -> float:
        start = clock()
        for _ in range(forwards):
            forward()
            wait()
        return clock() - start

    return seconds


def cuda_clock(stream: torch.cuda.Stream) -> Clock:
    """Give the clock of events around each forward on a stream; the last one is waited for before the next forward."""
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def seconds(forward: Forward, forwards: int) -> float:
        total = 0.0
        for _ in range(forwards):
            start.record(stream)
            forward()
            end.record(stream)
            end.synchronize()
            total += float(start.elapsed_time(end)) / 1e3
        return total

    return Clock("cuda_event", seconds)
