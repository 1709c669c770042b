"""Which samples are taken and used, on scripted samplers: exact, and no time passes."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from spnas.latency import Protocol
from spnas.latency.runtimes import Sample
from spnas.latency.sampling import Pair, ratio_of

Seconds = Callable[[int], float]


class Scripted:
    """A sampler whose n-th sample takes `seconds(n)` a forward."""

    def __init__(self, seconds: Seconds) -> None:
        self.seconds, self.turns = seconds, itertools.count()
        self.asked: list[int] = []

    def __call__(self, forwards: int) -> Sample:
        self.asked.append(forwards)
        seconds = forwards * self.seconds(next(self.turns))
        return Sample(wall_s=seconds, clock_s=seconds)


def pair(candidate: Seconds, base: Seconds, protocol: Protocol | None = None) -> Pair:
    return Pair(Scripted(candidate), Scripted(base), protocol or Protocol())


def noisy(mean: float, share: float, seed: int) -> Seconds:
    rng = np.random.default_rng(seed)
    return lambda n: float(mean * rng.normal(1, share))


def rounds_made(candidate: Seconds, base: Seconds, limit: float = math.inf) -> int:
    return len(pair(candidate, base).take(limit))


class TestEnough:
    def test_a_ratio_without_noise_is_known_after_the_fewest_rounds(self) -> None:
        assert rounds_made(lambda n: 0.02, lambda n: 0.02) == 15

    def test_fast_networks_are_sampled_for_half_a_second(self) -> None:
        assert rounds_made(lambda n: 0.01, lambda n: 0.01) == 25

    def test_noise_is_met_with_more_rounds_until_the_interval_is_narrow(self) -> None:
        taken = pair(noisy(0.01, 0.015, 1), noisy(0.01, 0.015, 2)).take(math.inf)
        assert 25 < len(taken) < 60
        assert ratio_of(taken).half_width <= 0.01 < ratio_of(taken[:-1]).half_width

    def test_time_ends_it_where_noise_does_not_let_the_ratio_be_known(self) -> None:
        taken = pair(noisy(0.04, 0.1, 1), noisy(0.04, 0.1, 2)).take(math.inf)
        assert ratio_of(taken).half_width > 0.01
        seconds = sum(r.candidate.wall_s + r.base.wall_s for r in taken)
        assert 1.2 <= seconds < 1.3

    def test_slow_networks_get_fewer(self) -> None:
        assert rounds_made(noisy(0.5, 0.1, 1), noisy(0.5, 0.1, 2)) == 15
        assert rounds_made(noisy(1.0, 0.1, 1), noisy(1.0, 0.1, 2)) in (10, 11)
        assert rounds_made(noisy(5.0, 0.1, 1), noisy(5.0, 0.1, 2)) == 6

    def test_what_is_surely_too_slow_is_measured_no_longer(self) -> None:
        def rounds(limit: float, noise: float) -> int:
            return rounds_made(lambda n: 0.03 + noise * (n % 3), lambda n: 0.02, limit)

        assert rounds(limit=1.4, noise=1e-5) == 6
        assert rounds(limit=1.4, noise=3e-3) > 15  # above, but not surely
        assert rounds(limit=1.6, noise=1e-5) == 15


def test_samples_are_loops_that_fill_their_time() -> None:
    made = pair(lambda n: 0.0025, lambda n: 0.5)
    made.take(math.inf)
    asked = [sampler.asked for sampler in made._samplers if isinstance(sampler, Scripted)]
    assert asked[0][:3] == [1, 1, 2]  # the first forwards only set up, and tell how long they take
    assert asked[1][:3] == [1, 1, 1]


def test_what_disturbs_more_than_half_of_a_networks_samples_leaves_the_ratio() -> None:
    def disturbed(n: int) -> float:
        return 0.02 if n % 3 == 0 else 0.026

    taken = pair(disturbed, lambda n: 0.04, Protocol(rounds=30)).take(math.inf)
    assert ratio_of(taken).value == pytest.approx(0.5)
    assert ratio_of(taken[:12]).value == pytest.approx(0.65)  # too few: the median


def test_warm_up_lasts_until_both_are_stable_or_its_time_is_over() -> None:
    settling = pair(lambda n: 0.02 * (3 + n % 2) if n < 10 else 0.02, lambda n: 0.04)
    settling.warm_up()
    assert {r.candidate.wall_s for r in settling.take(math.inf)} == {0.02}
    never = pair(lambda n: 0.02 * (1 + n % 2), lambda n: 0.02)
    never.warm_up()
    assert isinstance(never._samplers[0], Scripted)
    assert sum(0.02 * (1 + n % 2) + 0.02 for n in range(2, next(never._samplers[0].turns))) >= 1.0


# In a process of its own: in one that has freed much, everything finds a hole to lie in.
MOVING = """
import math, torch
from spnas.latency import Protocol
from spnas.latency.runtimes import Sample
from spnas.latency.runtimes.allocator import keep_freed_memory
from spnas.latency.sampling import Pair

def sampler(forwards):
    print(torch.empty(1 << 20, dtype=torch.uint8).data_ptr())
    return Sample(wall_s=0.02, clock_s=0.02)

keep_freed_memory()
Pair(sampler, sampler, Protocol()).take(math.inf)
"""


def test_what_is_allocated_lies_elsewhere_in_each_round() -> None:
    command = [sys.executable, "-c", MOVING]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(set(output.split()[4:])) > 3
