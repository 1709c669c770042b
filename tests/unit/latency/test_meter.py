"""The measuring protocol: exact on scripted clocks, plausible on real networks."""

from __future__ import annotations

import copy
import itertools
import math
import platform
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spnas.errors import ConfigError
from spnas.latency import Estimate, Measurement, Protocol, measure
from spnas.latency.runtimes import Sample, Sampler, base

CPU = torch.device("cpu")
IMAGE = torch.zeros(1, 3, 8, 8)


class Timed(nn.Module):
    """Stands for a network whose n-th sample takes `seconds(n)` per forward, and whose output is that far off."""

    def __init__(self, name: str, seconds: Callable[[int], float], error: float = 0.0) -> None:
        super().__init__()
        self.name, self.seconds, self.error = name, seconds, error


@dataclass
class ScriptedSession:
    """Tells the times that the networks state, and notes who was asked for how many forwards."""

    runtime: str = "scripted"
    clock: str = "script"
    dtype: torch.dtype = torch.float32
    asked: list[tuple[str, int]] = field(default_factory=list)

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        assert isinstance(model, Timed)
        turns = itertools.count()

        def sample(forwards: int) -> Sample:
            self.asked.append((model.name, forwards))
            seconds = forwards * model.seconds(next(turns))
            return Sample(wall_s=2 * seconds, clock_s=seconds)

        return Sampler(sample, model.error)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> ScriptedSession:
    opened = ScriptedSession()

    @contextmanager
    def scripted(device: torch.device, threads: int) -> Iterator[ScriptedSession]:
        yield opened

    monkeypatch.setattr(base, "_RUNTIMES", dict(base._RUNTIMES))  # put back after the test
    base.register_runtime("scripted")(scripted)
    return opened


def scripted_measure(
    candidate: Callable[[int], float], other: Callable[[int], float]
) -> Measurement:
    pair = Timed("candidate", candidate), Timed("base", other)
    return measure(*pair, IMAGE, device=CPU, runtime="scripted")


def test_estimate_is_median_and_scaled_median_deviation() -> None:
    found = Estimate.of([1.0, 2.0, 4.0, 8.0, 1000.0])
    assert found.median == 4.0
    assert found.std == pytest.approx(1.4826 * 3.0)


def test_wall_gives_the_latencies_and_the_clock_gives_the_ratio(session: ScriptedSession) -> None:
    found = scripted_measure(lambda n: 0.003, lambda n: 0.004)
    assert (found.latency_ms, found.base_latency_ms) == pytest.approx((6.0, 8.0))
    assert found.ratio == pytest.approx(0.75)
    assert found.latency_std_ms == found.ratio_std == pytest.approx(0.0, abs=1e-9)
    assert (found.clock, found.runtime, found.device) == ("script", "scripted", "cpu")
    assert (found.rounds, found.threads, found.dtype) == (30, 1, "float32")


def test_the_larger_of_both_networks_errors_is_kept(session: ScriptedSession) -> None:
    pair = Timed("candidate", lambda n: 0.1, 1e-6), Timed("base", lambda n: 0.1, 3e-6)
    assert measure(*pair, IMAGE, device=CPU, runtime="scripted").max_error == 3e-6


def test_networks_are_sampled_in_turn_in_loops_that_fill_a_sample(session: ScriptedSession) -> None:
    scripted_measure(lambda n: 0.001, lambda n: 0.5)
    setting_up, rounds = session.asked[:4], session.asked[4:]
    assert setting_up == [("candidate", 1)] * 2 + [("base", 1)] * 2
    # A wall forward takes 2 ms and 1 s, a sample at least 20 ms.
    assert rounds == [("candidate", 10), ("base", 1)] * (len(rounds) // 2)


def test_load_that_both_meet_leaves_the_ratio(session: ScriptedSession) -> None:
    def busier(n: int) -> float:
        return 1 + n / 10

    found = scripted_measure(lambda n: 0.06 * busier(n), lambda n: 0.03 * busier(n))
    assert found.ratio == pytest.approx(2.0)
    assert found.ratio_std == pytest.approx(0.0, abs=1e-9)
    assert found.latency_std_ms > 1.0


def test_outliers_do_not_move_the_figures(session: ScriptedSession) -> None:
    found = scripted_measure(lambda n: 9.0 if n % 4 == 0 else 0.05, lambda n: 0.1)
    assert found.ratio == pytest.approx(0.5)
    assert found.latency_ms == pytest.approx(100.0)


def test_warm_up_lasts_until_both_are_stable(session: ScriptedSession) -> None:
    found = scripted_measure(lambda n: 0.02 * (3 + n % 2) if n < 25 else 0.02, lambda n: 0.04)
    assert found.ratio == pytest.approx(0.5)
    assert found.ratio_std == pytest.approx(0.0, abs=1e-9)


def test_warm_up_of_a_network_that_never_settles_ends(session: ScriptedSession) -> None:
    found = scripted_measure(lambda n: 0.02 * (1 + n % 2), lambda n: 0.02)
    assert found.ratio == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("rounds", "elapsed_s", "done"),
    [
        *((29, 1.9, False), (30, 0.1, True)),
        *((14, 2.1, False), (15, 1.9, False), (15, 2.1, True)),
        *((4, 60.0, False), (5, 19.0, False), (5, 21.0, True)),
    ],
)
def test_rounds_end_by_number_and_time(rounds: int, elapsed_s: float, done: bool) -> None:
    assert Protocol().done(rounds, elapsed_s) is done


def conv_net(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


QUICK = Protocol(sample_s=0.01, warmup_s=0.2, rounds=7, max_rounds=15, enough_s=0.3)


def test_a_network_beside_itself_is_as_fast() -> None:
    network = conv_net(32)
    found = measure(network, network, torch.rand(1, 3, 64, 64), device=CPU, protocol=QUICK)
    assert found.ratio == pytest.approx(1.0, abs=0.2)
    assert found.clock == "thread_cpu"


def test_much_more_work_takes_longer() -> None:
    found = measure(
        conv_net(128), conv_net(16), torch.rand(1, 3, 64, 64), device=CPU, protocol=QUICK
    )
    assert found.ratio > 1.5
    assert found.latency_ms > found.base_latency_ms


def test_several_threads_are_measured_on_the_wall_clock() -> None:
    network = conv_net(4)
    found = measure(
        network, network, torch.rand(2, 3, 16, 16), device=CPU, threads=2, protocol=QUICK
    )
    assert (found.clock, found.threads) == ("wall", 2)


def test_what_is_measured_stays_as_it_is() -> None:
    network = nn.Sequential(conv_net(8), nn.BatchNorm2d(8)).train()
    before = copy.deepcopy(network.state_dict())
    image = torch.rand(2, 3, 16, 16)
    measure(network, network, image, device=CPU, protocol=QUICK)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.is_contiguous() for parameter in network.parameters())
    assert image.is_contiguous()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_forwards_do_not_pay_for_fresh_memory() -> None:
    """Twelve activations of 1 MB alive at once are 3,000 page faults a forward, where they go back to the kernel."""

    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return sum(part.mean() for part in [x * i for i in range(12)])

    with base.get_runtime("torch")(CPU, 1) as session:
        sample = session.load(Branches(), torch.rand(1, 1, 512, 512))
        sample(3)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        sample(20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20 * 100


@pytest.mark.parametrize("fails", [False, True])
def test_threads_are_put_back(fails: bool) -> None:
    before = torch.get_num_threads()
    network = conv_net(4)
    image = torch.rand(1, 4 if fails else 3, 16, 16)
    if fails:
        with pytest.raises(RuntimeError):
            measure(network, network, image, device=CPU, threads=before + 1, protocol=QUICK)
    else:
        measure(network, network, image, device=CPU, threads=before + 1, protocol=QUICK)
    assert torch.get_num_threads() == before


def test_bad_arguments_are_refused() -> None:
    network = conv_net(4)
    with pytest.raises(ConfigError, match="threads: expected at least 1, got 0"):
        measure(network, network, IMAGE, device=CPU, threads=0)
    with pytest.raises(ConfigError, match=r"unknown runtime 'abacus'.*torch"):
        measure(network, network, IMAGE, device=CPU, runtime="abacus")


def test_a_runtime_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="'torch' is registered already"):
        base.register_runtime("torch")(base.get_runtime("torch"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_measured_on_events() -> None:
    network = conv_net(32)
    device = torch.device("cuda:0")
    found = measure(network, network, torch.rand(1, 3, 64, 64), device=device, protocol=QUICK)
    assert found.clock == "cuda_event"
    assert found.ratio == pytest.approx(1.0, abs=0.2)


def test_what_is_surely_too_slow_is_measured_no_longer(session: ScriptedSession) -> None:
    long = Protocol(rounds=15, max_rounds=30, enough_s=math.inf)

    def rounds(limit: float, noise: float) -> int:
        pair = Timed("candidate", lambda n: 0.03 + noise * (n % 3)), Timed("base", lambda n: 0.02)
        found = measure(*pair, IMAGE, device=CPU, runtime="scripted", protocol=long, limit=limit)
        return found.rounds

    assert rounds(limit=1.4, noise=1e-4) == long.min_rounds
    assert rounds(limit=1.4, noise=3e-3) == 30  # above, but not surely
    assert rounds(limit=1.6, noise=1e-4) == 30


def test_the_lock_is_held_only_while_times_are_taken(
    session: ScriptedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []

    @contextmanager
    def exclusive() -> Iterator[None]:
        held.append(True)
        yield
        held.append(False)

    load = ScriptedSession.load

    def checked(self: ScriptedSession, model: Timed, example: torch.Tensor) -> Sampler:
        assert not held
        sampler = load(self, model, example)

        def sample(forwards: int) -> Sample:
            assert held == [True]
            return sampler(forwards)

        return Sampler(sample)

    monkeypatch.setattr(ScriptedSession, "load", checked)
    pair = Timed("candidate", lambda n: 0.02), Timed("base", lambda n: 0.02)
    measure(*pair, IMAGE, device=CPU, runtime="scripted", exclusive=exclusive)
    assert held == [True, False]
