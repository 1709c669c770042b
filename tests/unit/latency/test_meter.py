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

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spnas.errors import ConfigError
from spnas.latency import KnownBase, Measurement, Protocol, measure
from spnas.latency.runtimes import Sample, Sampler, base, onnx_export, onnx_runtime

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
    wall: float = 2.0  # seconds of wall time for one on the clock
    asked: list[tuple[str, int]] = field(default_factory=list)

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        assert isinstance(model, Timed)
        turns = itertools.count()

        def sample(forwards: int) -> Sample:
            self.asked.append((model.name, forwards))
            seconds = forwards * model.seconds(next(turns))
            return Sample(wall_s=self.wall * seconds, clock_s=seconds)

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
    candidate: Callable[[int], float],
    other: Callable[[int], float],
    limit: float = math.inf,
    protocol: Protocol | None = None,
    base: KnownBase | None = None,
) -> Measurement:
    return measure(
        Timed("candidate", candidate),
        Timed("base", other),
        IMAGE,
        device=CPU,
        runtime="scripted",
        limit=limit,
        protocol=protocol,
        known=base,
    )


def known(*seconds: float) -> KnownBase:
    """What the base took in earlier measurements."""
    times = KnownBase()
    for each in seconds:
        times.add(each)
    return times


def test_wall_gives_the_latencies_and_the_clock_gives_the_ratio(session: ScriptedSession) -> None:
    found = scripted_measure(lambda n: 0.03, lambda n: 0.04)
    assert (found.latency_ms, found.base_latency_ms) == pytest.approx((60.0, 80.0))
    assert found.ratio == pytest.approx(0.75)
    assert found.latency_std_ms == found.ratio_std == pytest.approx(0.0, abs=1e-9)
    assert (found.clock, found.runtime, found.device) == ("script", "scripted", "cpu")
    assert (found.rounds, found.threads, found.dtype) == (15, 1, "float32")
    # The rounds agree exactly; what is left is what processes differ by.
    assert (found.ratio_low, found.ratio_high) == pytest.approx((0.736770, 0.763230))
    assert found.warning is None


def test_the_larger_of_both_networks_errors_is_kept(session: ScriptedSession) -> None:
    pair = Timed("candidate", lambda n: 0.1, 1e-6), Timed("base", lambda n: 0.1, 3e-6)
    assert measure(*pair, IMAGE, device=CPU, runtime="scripted").max_error == 3e-6


def test_networks_are_sampled_in_turn_in_loops_that_fill_a_sample(session: ScriptedSession) -> None:
    scripted_measure(lambda n: 0.001, lambda n: 0.5)
    setting_up, rounds = session.asked[:4], session.asked[4:]
    assert setting_up == [("candidate", 1)] * 2 + [("base", 1)] * 2
    # A wall forward takes 2 ms and 1 s, a sample at least 4 ms.
    assert rounds == [("candidate", 2), ("base", 1)] * (len(rounds) // 2)


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


BEFORE = 2 + 3  # samples that set up and warm up
FEWEST = Protocol(half_width=math.inf, least_s=0.0)  # fifteen rounds an attempt


def test_a_base_that_slows_down_once_is_measured_again(session: ScriptedSession) -> None:
    def slows_down(n: int) -> float:
        return 0.02 if n < BEFORE + 7 else 0.026

    found = scripted_measure(lambda n: 0.01, slows_down, protocol=FEWEST, base=known(0.026))
    assert found.warning is None
    assert found.ratio == pytest.approx(0.01 / 0.026)
    assert found.ratio_std == pytest.approx(0.0, abs=1e-9)
    assert len(session.asked) == 2 * (BEFORE + 2 * 15)


def slows_down_in_every_attempt() -> Callable[[int], float]:
    attempts = itertools.cycle([0.02] * 7 + [0.026] * 8)
    return lambda n: 0.02 if n < BEFORE else next(attempts)


def test_a_base_that_slows_down_in_every_attempt_is_warned_of(session: ScriptedSession) -> None:
    found = scripted_measure(
        lambda n: 0.01, slows_down_in_every_attempt(), protocol=FEWEST, base=known(0.02)
    )
    assert found.warning is not None
    assert "the base got 30% slower within the measurement" in found.warning
    assert len(session.asked) == 2 * (BEFORE + 2 * 15)


def test_a_disturbed_candidate_that_is_surely_too_slow_is_not_measured_again(
    session: ScriptedSession,
) -> None:
    found = scripted_measure(lambda n: 0.2, slows_down_in_every_attempt(), limit=1.0)
    assert found.ratio > 1.0
    assert len(session.asked) == 2 * (BEFORE + 6)


def in_attempts(*seconds: float) -> Callable[[int], float]:
    """So many seconds a forward in each attempt of fifteen rounds."""
    return lambda n: seconds[max(0, n - BEFORE) // 15]


def test_a_base_that_was_quicker_in_another_measurement_is_measured_again(
    session: ScriptedSession,
) -> None:
    found = scripted_measure(
        in_attempts(0.02, 0.01), in_attempts(0.021, 0.0205), protocol=FEWEST, base=known(0.02)
    )
    assert (found.ratio, found.warning) == (pytest.approx(0.01 / 0.0205), None)
    assert len(session.asked) == 2 * (BEFORE + 2 * 15)


def test_where_it_stays_slower_its_quickest_attempt_counts_with_a_warning(
    session: ScriptedSession,
) -> None:
    times = known(0.025, 0.02, 0.02, 0.02)
    found = scripted_measure(
        in_attempts(0.03, 0.01),
        in_attempts(0.022, 0.0214),
        protocol=FEWEST,
        base=times,
    )
    assert found.ratio == pytest.approx(0.01 / 0.0214)
    assert found.warning == "the base took 7% longer than in other measurements: other load"
    assert times.slowdown(0.021) == pytest.approx(0.05)  # of five


def test_a_base_that_stays_slower_is_what_it_is_after_a_while(session: ScriptedSession) -> None:
    """As of a processor that got warm."""
    times = known(0.02)
    warnings = [
        scripted_measure(lambda n: 0.01, lambda n: 0.025, protocol=FEWEST, base=times).warning
        for _ in range(10)
    ]
    assert [warning is None for warning in warnings] == [False] * 4 + [True] * 6


def test_of_the_first_measurements_attempts_the_quickest_counts(session: ScriptedSession) -> None:
    times = KnownBase()
    found = scripted_measure(
        in_attempts(0.03, 0.01, 0.02),
        in_attempts(0.022, 0.021, 0.023),
        protocol=FEWEST,
        base=times,
    )
    assert (found.ratio, found.warning) == (pytest.approx(0.01 / 0.021), None)
    assert times.slowdown(0.042) == pytest.approx(1.0)


def test_a_first_measurement_of_slow_networks_is_made_once(session: ScriptedSession) -> None:
    found = scripted_measure(
        in_attempts(0.3, 0.1, 0.2), in_attempts(0.22, 0.21, 0.23), protocol=FEWEST
    )
    assert found.ratio == pytest.approx(0.3 / 0.22)
    assert len(session.asked) == 2 * (BEFORE + 15)


def test_noise_and_small_drifts_are_no_reason_to_warn(session: ScriptedSession) -> None:
    rng = np.random.default_rng(0)
    found = scripted_measure(
        lambda n: 0.01 * rng.normal(1, 0.05),
        lambda n: 0.02 * rng.normal(1, 0.05) * (1 + n / 1000),
        base=known(0.02),
    )
    assert found.warning is None
    assert found.ratio_low < 0.5 < found.ratio_high


@pytest.mark.parametrize(("wall", "warned"), [(1.0, False), (1.2, False), (4.0, True)])
def test_a_thread_that_waits_for_its_processor_is_warned_of(
    session: ScriptedSession, wall: float, warned: bool
) -> None:
    session.clock, session.wall = "thread_cpu", wall
    found = scripted_measure(lambda n: 0.01, lambda n: 0.02)
    assert found.ratio == pytest.approx(0.5)
    expected = "the processor was taken away for 75% of the time: other load" if warned else None
    assert found.warning == expected


def test_on_other_clocks_wall_time_is_no_sign_of_waiting(session: ScriptedSession) -> None:
    session.wall = 4.0
    assert scripted_measure(lambda n: 0.01, lambda n: 0.02).warning is None


def conv_net(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


QUICK = Protocol(sample_s=0.01, warmup_s=0.2, rounds=7, enough_s=0.3)


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


def test_the_base_is_exported_once_for_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[nn.Module] = []

    def export(network: nn.Module, example: Tensor) -> bytes:
        exported.append(network)
        return onnx_export.export(network, example)

    monkeypatch.setattr(onnx_runtime, "export", export)
    image, other, network, seen = (
        torch.rand(1, 3, 32, 32),
        torch.rand(1, 3, 16, 16),
        conv_net(4),
        KnownBase(),
    )
    for example, networks in ((image, 2), (image, 1), (other, 2)):
        exported.clear()
        found = measure(conv_net(64), network, example, device=CPU, protocol=QUICK, known=seen)
        assert len(exported) == networks
        assert found.ratio > 1.0


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


def test_the_interval_tells_of_how_far_the_base_wanders_between_measurements(
    session: ScriptedSession,
) -> None:
    """Of equal samples: the base's times of earlier measurements, or of the first one's attempts."""
    still, wandering = known(*[0.02] * 5), known(0.0196, 0.0198, 0.02, 0.0202, 0.0204)
    halves = []
    for times in (still, wandering):
        found = scripted_measure(lambda n: 0.01, lambda n: 0.02, protocol=FEWEST, base=times)
        assert found.warning is None
        halves.append((found.ratio_high - found.ratio_low) / 2 / found.ratio)
    process = FEWEST.process_std
    assert halves[0] == pytest.approx(1.96 * process, rel=1e-3)
    # The median absolute deviation of the six is 0.0002, a hundredth.
    assert halves[1] == pytest.approx(1.96 * math.hypot(process, 0.01 * 1.4826), rel=1e-3)
    first = scripted_measure(
        lambda n: 0.01, in_attempts(0.0204, 0.02, 0.0208), protocol=FEWEST, base=KnownBase()
    )
    spread = 1.96 * math.hypot(process, 0.0004 / 0.0204 * 1.4826)
    assert (first.ratio_high - first.ratio_low) / 2 / first.ratio == pytest.approx(spread, rel=1e-3)
