"""Samples of a candidate and the base taken in turn, for as long as the ratio needs to be known well enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spnas.latency.estimate import Estimate
from spnas.latency.runtimes import Sample, Sampler

_QUIET, _QUARTILE_ROUNDS = 0.25, 13  # fewer have no interval of their lower quartile
_BLOCKS, _BLOCK_BYTES = 3, 4 << 20  # the most of each; about what our networks' activations take


@dataclass(frozen=True)
class Protocol:
    """How long and how often to measure; an attempt takes up to 1.5 s where a forward takes less than 20 ms.

    Attributes:
        sample_s: A sample is as many forwards in a row as fill this time, at least one; seconds.
        stable: Warm-up ends when three samples of each network in a row differ by less than this share.
        warmup_s: Warm-up ends at the latest after this time and three samples; seconds.
        half_width: The ratio is known well enough when its 95% interval reaches no further than this to each side, as
            a share of it.
        rounds: Rounds to make in any case, unless the time limit is reached.
        least_s: Not less than this time; what disturbs a processor comes and goes within a second. Seconds.
        enough_s: No more than `rounds` once this time is over; seconds.
        limit_s: No more than `min_rounds` once this time is over, for networks of seconds a forward; seconds.
        min_rounds: Rounds below which there is no interval of the median.
        attempts: So often it is measured at most, where throttling or interference shows; the quickest counts.
        first_attempts: So often a process's first measurement is made; the quickest counts.
        max_drift: A base that moves by more than this share from the first half of the rounds to the second shows
            throttling or interference.
        max_waiting: So does a thread that waits for its processor for more than this share of the time.
        max_slowdown: So does a base that takes longer by more than this share than in the quicker ones of the latest
            measurements of this process.
        process_std: How much the ratio differs from process to process, whatever the rounds in each say; a standard
            deviation, as a share of it (`benchmarks/latency_repeatability.py`).
    """

    sample_s: float = 0.004
    stable: float = 0.05
    warmup_s: float = 1.0
    half_width: float = 0.01
    rounds: int = 15
    least_s: float = 0.5
    enough_s: float = 1.2
    limit_s: float = 20.0
    min_rounds: int = 6
    attempts: int = 2
    first_attempts: int = 3
    max_drift: float = 0.1
    max_waiting: float = 0.2
    max_slowdown: float = 0.05
    process_std: float = 0.009

    def done(self, rounds: int, elapsed_s: float, half_width: float) -> bool:
        """Whether so many rounds in that time, which leave the ratio that uncertain, are enough."""
        if elapsed_s >= self.limit_s:
            return rounds >= self.min_rounds
        known = elapsed_s >= self.enough_s or half_width <= self.half_width
        return rounds >= self.rounds and elapsed_s >= self.least_s and known


@dataclass(frozen=True)
class Round:
    """A sample of each network, one right after the other; times are those of one forward.

    Attributes:
        candidate: Of the candidate.
        base: Of the base.
    """

    candidate: Sample
    base: Sample


class Pair:
    """Candidate and base, sampled in turn so that both meet the same load.

    Times are counted in what the samples say, not by a clock of its own.

    Where activations lie in memory decides which of them contend for the same places in the caches: a ratio would
    differ by a percent or two from process to process and stay so within one. Each round therefore holds a few blocks
    of random sizes, which move all that is allocated after them: the spread over the rounds then tells of that too.
    (Curtsinger and Berger, STABILIZER: Statistically Sound Performance Evaluation, ASPLOS 2013.)
    """

    def __init__(self, candidate: Sampler, base: Sampler, protocol: Protocol) -> None:
        self.protocol = protocol
        self._samplers = (candidate, base)
        self._forwards = tuple(_forwards(sampler, protocol.sample_s) for sampler in self._samplers)
        self._rng = np.random.default_rng(0)

    def warm_up(self) -> None:
        """Sample until both networks' times are stable, or it has taken long enough."""
        rounds: list[Round] = []
        while len(rounds) < 3 or self.seconds(rounds) < self.protocol.warmup_s:
            rounds.append(self._round())
            if _stable([r.candidate for r in rounds], self.protocol.stable) and _stable(
                [r.base for r in rounds], self.protocol.stable
            ):
                return

    def take(self, limit: float) -> list[Round]:
        """Sample until the ratio is known well enough, surely above the limit, or the time is over."""
        rounds = [self._round() for _ in range(self.protocol.min_rounds)]
        while True:
            ratio = ratio_of(rounds)
            seconds = self.seconds(rounds)
            if ratio.surely_above(limit) or self.protocol.done(
                len(rounds), seconds, ratio.half_width
            ):
                return rounds
            rounds.append(self._round())

    def seconds(self, rounds: Sequence[Round]) -> float:
        """Wall time that the rounds took."""
        own, base = self._forwards
        return sum(own * r.candidate.wall_s + base * r.base.wall_s for r in rounds)

    def _round(self) -> Round:
        moving = [
            np.empty(size, np.uint8) for size in self._rng.integers(_BLOCK_BYTES, size=_BLOCKS)
        ]
        candidate, base = (
            Sample(taken.wall_s / count, taken.clock_s / count)
            for sampler, count in zip(self._samplers, self._forwards, strict=True)
            for taken in [sampler(count)]
        )
        del moving
        return Round(candidate, base)


def ratio_of(rounds: Sequence[Round]) -> Estimate:
    """Estimate the candidate's time over the base's.

    What disturbs a forward makes it longer, never shorter, so each network's time is its `quiet_time`. Of few rounds,
    as networks of seconds a forward get, it is the median of the ratios within the rounds. The spread is that of these
    ratios in either case.
    """
    candidate, base = [r.candidate for r in rounds], [r.base for r in rounds]
    paired = Estimate.of(
        [own.clock_s / other.clock_s for own, other in zip(candidate, base, strict=True)]
    )
    if len(rounds) < _QUARTILE_ROUNDS:
        return paired
    return quiet_time(candidate).over(quiet_time(base), paired.std)


def quiet_time(samples: Sequence[Sample]) -> Estimate:
    """Estimate what a forward takes while little else goes on, seconds on the clock: the samples' lower quartile."""
    return Estimate.of([sample.clock_s for sample in samples], _QUIET)


def _forwards(sampler: Sampler, sample_s: float) -> int:
    """Say how many forwards fill a sample, from a second forward: the first one also sets up memory and kernels."""
    sampler(1)
    return max(1, math.ceil(sample_s / max(sampler(1).wall_s, 1e-6)))


def _stable(samples: Sequence[Sample], share: float) -> bool:
    last = [sample.clock_s for sample in samples[-3:]]
    return len(last) == 3 and max(last) - min(last) <= share * min(last)
