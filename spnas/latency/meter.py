"""How latency is measured: candidate and base interleaved in one session, robust statistics over the rounds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spnas.errors import ConfigError
from spnas.latency.estimate import Estimate, drift
from spnas.latency.known_base import KnownBase
from spnas.latency.runtimes import Sampler, Session, check_runtime, default_runtime, get_runtime
from spnas.latency.runtimes.allocator import gather_in_huge_pages
from spnas.latency.sampling import Pair, Protocol, Round, quiet_time, ratio_of

# On this clock a runtime works in the calling thread alone.
_THREAD_CLOCK = "thread_cpu"


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
        ratio: Candidate time over base time on `clock`: of lower quartiles over the rounds, of fewer than 13 rounds the
            median of the rounds' ratios.
        ratio_std: Its spread over the rounds, as above.
        ratio_low: Lower end of the 95% confidence interval of `ratio`, from the spread within this measurement, from
            what other processes are known to differ by (`Protocol.process_std`), and from how far the base's times lie
            apart from measurement to measurement (`KnownBase.wander`).
        ratio_high: Upper end.
        clock: `thread_cpu` (one CPU thread), `wall` (more threads, MPS) or `cuda_event`.
        rounds: Pairs of samples taken, where it was repeated in the attempt that counts.
        device: Where it was measured, `cpu` or `cuda:0`.
        threads: CPU threads used.
        runtime: What ran the networks.
        dtype: Type of the numbers that the runtime works with, `float32`.
        max_error: How far the outputs in the runtime are off torch's in float32, the worse of the two networks': the
            largest difference as a share of the largest value of its channel.
        warning: What disturbed the measurement, also when it was repeated; None where nothing did.
    """

    latency_ms: float
    latency_std_ms: float
    base_latency_ms: float
    base_latency_std_ms: float
    ratio: float
    ratio_std: float
    ratio_low: float
    ratio_high: float
    clock: str
    rounds: int
    device: str
    threads: int
    runtime: str
    dtype: str
    max_error: float
    warning: str | None = None


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
    known: KnownBase | None = None,
) -> Measurement:
    """Measure a candidate's latency beside the base's, the two in turn so that both meet the same load.

    Both run in eval and inference mode on copies; the arguments are left as they are. Where the base's own times show
    throttling or interference, it is measured again, at most `Protocol.attempts` times in all; where all of them were
    disturbed, the one with the quickest base counts, with a warning.

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
        known: What earlier measurements beside this base have kept, and this one keeps for later ones.

    Raises:
        ConfigError: There is no such runtime on the device, something it needs is missing, or `threads` is less than 1.
        SpnasError: The runtime gives another output than torch.
    """
    if threads < 1:
        raise ConfigError(f"threads: expected at least 1, got {threads}")
    name = runtime or default_runtime(device)
    check_runtime(name, device)
    known = known or KnownBase()
    with get_runtime(name)(device, threads) as session:
        samplers = session.load(candidate, example), known.load(session, base, example)
        return measure_loaded(
            *samplers,
            session,
            device=device,
            threads=threads,
            protocol=protocol,
            limit=limit,
            exclusive=exclusive,
            known=known,
        )


def measure_loaded(
    candidate: Sampler,
    base: Sampler,
    session: Session,
    *,
    device: torch.device,
    threads: int = 1,
    protocol: Protocol | None = None,
    limit: float = math.inf,
    exclusive: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    known: KnownBase | None = None,
) -> Measurement:
    """Measure two networks that a session has made ready to be timed; as `measure` otherwise.

    Args:
        candidate: The candidate, which has run once.
        base: The base network, likewise.
        session: What they were made ready in, still open.
        device: Where they run.
        threads: CPU threads that the session has.
        protocol: As for `measure`.
        limit: As for `measure`.
        exclusive: As for `measure`.
        known: As for `measure`.
    """
    if device.type == "cpu":
        gather_in_huge_pages()  # of forwards too: each network has run once
    with exclusive():
        pair = Pair(candidate, base, protocol or Protocol())
        pair.warm_up()
        rounds, warning, wander = _take_undisturbed(
            pair, limit, session.clock, known or KnownBase()
        )
    max_error = max(sampler.max_error for sampler in (candidate, base))
    ratio = ratio_of(rounds)
    ratio = ratio.widened(math.hypot(pair.protocol.process_std, wander) * ratio.value)
    return _summarize(rounds, ratio, warning, session, max_error, str(device), threads)


@dataclass(frozen=True)
class _Attempt:
    rounds: list[Round]
    base_s: float
    disturbance: str | None


def _take_undisturbed(
    pair: Pair, limit: float, clock: str, known: KnownBase
) -> tuple[list[Round], str | None, float]:
    """Measure, and again where something disturbed it; give the quietest attempt and what disturbed it all the same.

    And how far the base's times lie apart, this measurement's and the latest ones.

    The first measurement cannot tell by others whether something disturbed it, so it makes all its attempts, unless
    they take longer than those of networks of some milliseconds.
    """
    protocol, attempts, spent_s = pair.protocol, list[_Attempt](), 0.0
    first = known.unmeasured
    most = protocol.first_attempts if first else protocol.attempts
    while len(attempts) < most:
        rounds = pair.take(limit)
        spent_s += pair.seconds(rounds)
        base_s = quiet_time([r.base for r in rounds]).value
        disturbance = _disturbance(rounds, protocol, clock) or _slowdown(base_s, protocol, known)
        attempts.append(_Attempt(rounds, base_s, disturbance))
        repeat = first and spent_s < most * protocol.enough_s
        if ratio_of(rounds).surely_above(limit) or (disturbance is None and not repeat):
            break
    best = min(attempts, key=lambda a: (a.disturbance is not None, a.base_s))
    wander = known.wander(attempt.base_s for attempt in attempts)
    known.add(best.base_s)
    return best.rounds, best.disturbance, wander


def _slowdown(base_s: float, protocol: Protocol, known: KnownBase) -> str | None:
    """Say by how much the base is slower than in other measurements, where that is more than they differ by."""
    slower = known.slowdown(base_s)
    if slower <= protocol.max_slowdown:
        return None
    return f"the base took {slower:.0%} longer than in other measurements: other load"


def _disturbance(rounds: Sequence[Round], protocol: Protocol, clock: str) -> str | None:
    """Say what the samples themselves show to have disturbed them: throttling, or other work on the device."""
    moved = drift([r.base.clock_s for r in rounds])
    if abs(moved) > protocol.max_drift:
        how = "slower" if moved > 0 else "faster"
        return (
            f"the base got {abs(moved):.0%} {how} within the measurement: throttling or other load"
        )
    if clock == _THREAD_CLOCK:
        waiting = max(
            1 - Estimate.of([sample.clock_s / sample.wall_s for sample in samples]).value
            for samples in ([r.base for r in rounds], [r.candidate for r in rounds])
        )
        if waiting > protocol.max_waiting:
            return f"the processor was taken away for {waiting:.0%} of the time: other load"
    return None


def _summarize(
    rounds: Sequence[Round],
    ratio: Estimate,
    warning: str | None,
    session: Session,
    max_error: float,
    device: str,
    threads: int,
) -> Measurement:
    own = Estimate.of([1e3 * r.candidate.wall_s for r in rounds])
    other = Estimate.of([1e3 * r.base.wall_s for r in rounds])
    return Measurement(
        latency_ms=own.value,
        latency_std_ms=own.std,
        base_latency_ms=other.value,
        base_latency_std_ms=other.std,
        ratio=ratio.value,
        ratio_std=ratio.std,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        clock=session.clock,
        rounds=len(rounds),
        device=device,
        threads=threads,
        runtime=session.runtime,
        dtype=str(session.dtype).removeprefix("torch."),
        max_error=max_error,
        warning=warning,
    )
