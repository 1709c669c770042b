"""What a run has spent, kept in its study over all its sittings, and what is kept back for its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spnas.search.budget import Budget, Ledger
from spnas.search.study import SearchStudy

_SPENT, _PREPARED, _CONFIRMED = "spent_device_s", "prepared_device_s", "confirmed_device_s"
_DEVICES, _GPUS = "spent_devices", "spent_on_gpus"
_PHASES = "phase_device_s"
_PHASE_NAMES = ("base network", "operators", "latency table", "trials", "confirmation")


def keep_spent(study: SearchStudy, ledger: Ledger) -> None:
    """Keep what a run has spent, so that a killed one is charged up to the last time this was called."""
    study.set(_SPENT, ledger.spent)
    if study.get(_DEVICES) != ledger.devices:
        study.set(_DEVICES, ledger.devices)


def spent_so_far(study: SearchStudy) -> float:
    """Give the device-seconds that earlier sittings of a run spent."""
    return float(study.get(_SPENT) or 0.0)


def open_ledger(study: SearchStudy, budget: Budget, devices: float, *, counts_gpus: bool) -> Ledger:
    """Open the budget of a run that may have had sittings before.

    Args:
        study: The run's.
        budget: What may be spent.
        devices: GPUs or cores that the run reserves by now. Wall time goes on where it was, whatever they were before,
            and so does a budget that counts cores where an earlier one counted GPUs, or the other way round.
        counts_gpus: Whether the budget counts GPUs.
    """
    before = study.get(_DEVICES)
    if before and (budget.unit == "wall" or study.get(_GPUS) not in (None, counts_gpus)):
        _convert(study, devices / float(before))
    study.set(_DEVICES, devices)
    study.set(_GPUS, counts_gpus)
    return Ledger(budget, devices, spent=spent_so_far(study))


def _convert(study: SearchStudy, factor: float) -> None:
    """Keep what was spent in other devices' seconds."""
    for name in (_SPENT, _PREPARED, _CONFIRMED):
        if study.get(name) is not None:
            study.set(name, study.get(name) * factor)
    phases = study.get(_PHASES) or {}
    study.set(_PHASES, {name: spent * factor for name, spent in phases.items()})


def confirmation_spent(study: SearchStudy) -> float:
    """Give the device-seconds of it that went into confirmation."""
    return float(study.get(_CONFIRMED) or 0.0)


def keep_confirmation_spent(study: SearchStudy, device_seconds: float) -> None:
    """Keep them."""
    study.set(_CONFIRMED, device_seconds)


def reserve_for_confirmation(study: SearchStudy, ledger: Ledger, share: float) -> None:
    """Keep part of the budget for the end, before the trials: a share of what base network and latency table left.

    What a former confirmation of the run has spent is part of it.
    """
    prepared = study.get(_PREPARED)
    if prepared is None:
        prepared = ledger.spent
        study.set(_PREPARED, prepared)
    if ledger.total is not None:
        part = share * (ledger.total - prepared)
        ledger.reserve(max(0.0, part - confirmation_spent(study)))


@contextmanager
def charged_to(study: SearchStudy, ledger: Ledger, phase: str) -> Iterator[None]:
    """Note what is spent meanwhile as a phase's, all sittings together."""
    before = ledger.spent
    try:
        yield
    finally:
        known = study.get(_PHASES) or {}
        study.set(_PHASES, {**known, phase: known.get(phase, 0.0) + ledger.spent - before})


def costs_by_phase(study: SearchStudy, ledger: Ledger) -> dict[str, float]:
    """Give the device-seconds of each phase; `other` is the start of Ray and its workers, and killed sittings."""
    known = study.get(_PHASES) or {}
    phases = {name: known[name] for name in _PHASE_NAMES if name in known}
    return {**phases, "other": max(0.0, ledger.spent - sum(phases.values()))}
