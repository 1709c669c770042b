"""A run of made-up trials."""

from __future__ import annotations

import random

import pytest

from spnas.architecture import Architecture
from spnas.runs import TrialRecord

SITES = ("model.1", "model.3", "model.5", "model.7")
SCORES = ("map50_95", "map50")
STAMP = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def records() -> list[TrialRecord]:
    """Thirty trials, the base network first, of every state, with figures missing where a search lacks them."""
    rng = random.Random(7)
    made = [
        TrialRecord(
            trial=0,
            state="complete",
            architecture=Architecture(),
            origin="base",
            epochs=3,
            scores={"map50_95": 0.41, "map50_95_std": 0.004, "map50": 0.7},
            latency_ms=33.9,
            latency_std_ms=0.2,
            latency_ratio=1.0,
            params=3_011_043,
            macs=4_371_000_000,
            started=STAMP,
            finished=STAMP,
        )
    ]
    for trial in range(1, 30):
        architecture = Architecture(
            {site: rng.choice(["regular", "ghost:0.5", "spconv:0.125"]) for site in SITES}
        )
        ratio = 1 - 0.07 * len(architecture) + rng.gauss(0, 0.02)
        made.append(
            TrialRecord(
                trial=trial,
                state="complete",
                architecture=architecture,
                epochs=3,
                scores={"map50_95": 0.41 - 0.02 * len(architecture) * rng.random(), "map50": 0.6},
                latency_ms=33.9 * ratio,
                latency_std_ms=0.1,
                latency_ratio=ratio,
                params=3_000_000 - trial,
                macs=4_000_000_000 - trial,
                memory_mb=758.25,
                batch=16,
                train_s=12.5,
                device_s=14.75,
                started=STAMP,
                finished="2026-01-02T03:04:05.250000+00:00",
            )
        )
    # Figures that would lead the front, were these trials complete.
    made[3].state, made[3].error = "stopped", "rung 1: dominated"
    made[3].latency_ms, made[3].scores = 1.0, {"map50_95": 0.99}
    made[4] = TrialRecord(4, "failed", Architecture({"model.1": "ghost:0.5"}), error="loss is nan")
    made[5].state = "infeasible"
    made[6].latency_warning = 'the base got 30% slower, "throttled"'
    made[5].scores = {}
    return made
