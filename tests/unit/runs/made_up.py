"""Writes a run of made-up trials, as large as wanted: YOLOv8n's sites, rungs, a confirmed front, all states."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import yaml

from spnas.architecture import Architecture
from spnas.runs import (
    RunDirectory,
    TrialRecord,
    front_records,
    write_confirmed,
    write_front,
    write_trials,
)
from spnas.runs.course import Rung, write_costs, write_rungs

SITES = tuple(f"model.{i}" for i in range(39))
SCORES = ("map50_95", "map50")
CHOICES = ("ghost:0.5", "ghost:0.25", "spconv:0.5", "spconv:0.25", "spconv:0.125")
_GAIN = dict(
    zip(CHOICES, (0.004, 0.006, 0.005, 0.008, 0.010), strict=True)
)  # of the latency ratio, a site
_LOSS = dict(zip(CHOICES, (0.002, 0.005, 0.001, 0.003, 0.008), strict=True))
_STAMP = "2026-01-02T03:04:05+00:00"


def make_run(
    folder: Path, trials: int, *, error: str = "loss is nan", name: str = "run"
) -> RunDirectory:
    """Write a run; the later a trial, the fewer of its sites are badly chosen. `error` is what failed trials say."""
    run = RunDirectory.create(folder, name)
    rng = random.Random(0)
    records = [_trial(number, _architecture(number, trials, rng), rng) for number in range(trials)]
    for record in records[7::13]:
        record.state, record.epochs, record.error = "stopped", 1, "rung: not promoted at epoch 1"
    for record in records[8::29]:
        record.state, record.scores, record.epochs, record.error = "failed", {}, 0, error
    for record in records[9::31]:
        record.state, record.scores, record.epochs = "infeasible", {}, 0
        record.error = "latency 9 ms, allowed 8 ms"
    write_trials(run.trials, records, SCORES, SITES)
    write_front(
        run,
        records,
        lambda record: {"schema_version": 1},
        metric=SCORES[0],
        score_columns=SCORES,
        sites=SITES,
        conditions={"device": "cpu"},
    )
    write_rungs(run.rungs, list(_rungs(records)), SCORES[0])
    again = {
        (record.trial, seed): _again(record, rng)
        for record in [records[0], *front_records(records, SCORES[0])]
        for seed in (1, 2)
    }
    write_confirmed(run.confirmed, again, SCORES, SITES)
    spent = sum(record.device_s or 0 for record in records)
    write_costs(
        run.costs, {"base network": 300, "trials": 1.1 * spent, "confirmation": 200, "other": 30}
    )
    resolved = {"gpus": 0, "epochs": 2, "rungs": [1]}
    config = {"space": "yolov8n", "budget": "8gpu-h", "data": None, "resolved": resolved}
    run.config.write_text(yaml.safe_dump(config))
    run.environment.write_text(
        json.dumps({"cpu": "made up", "cores": 2, "versions": {"torch": "2.14.1"}})
    )
    return run


def _architecture(number: int, trials: int, rng: random.Random) -> Architecture:
    if number == 0:
        return Architecture()
    if number <= len(CHOICES):
        return Architecture(dict.fromkeys(SITES, CHOICES[number - 1]))
    share = rng.random()
    wise = rng.random() < number / trials
    weights = [1 / _LOSS[c] for c in CHOICES] if wise else [1.0] * len(CHOICES)
    chosen = [site for site in SITES if rng.random() < share]
    return Architecture({site: rng.choices(CHOICES, weights)[0] for site in chosen})


def _trial(number: int, architecture: Architecture, rng: random.Random) -> TrialRecord:
    used = [str(choice) for choice in architecture.values()]
    ratio = 1 - sum(_GAIN[c] for c in used) + rng.gauss(0, 0.004) if used else 1.0
    accuracy = 0.45 - sum(_LOSS[c] for c in used) + rng.gauss(0, 0.004)
    origin = "base" if number == 0 else "uniform" if number <= len(CHOICES) else "sampler"
    return TrialRecord(
        trial=number,
        state="complete",
        architecture=architecture,
        origin=origin,  # type: ignore[arg-type]
        epochs=2,
        scores={"map50_95": accuracy, "map50_95_std": 0.006, "map50": accuracy + 0.25},
        latency_ms=9.5 * ratio,
        latency_std_ms=0.05,
        latency_ratio=ratio,
        latency_ratio_low=ratio - 0.006,
        latency_ratio_high=ratio + 0.006,
        latency_warning="the base got 30% slower" if number == 11 else None,
        params=3_000_000 - 20_000 * len(used),
        macs=4_000_000_000 - 30_000_000 * len(used),
        memory_mb=18.2,
        train_s=11.0,
        device_s=12.0 + rng.random(),
        started=_STAMP,
        finished=_STAMP,
    )


def _again(record: TrialRecord, rng: random.Random) -> TrialRecord:
    scores = {
        name: value + (0.03 + rng.gauss(0, 0.003)) * ("std" not in name)
        for name, value in record.scores.items()
    }
    return replace(record, epochs=4, scores=scores, latency_warning=None)


def _rungs(records: list[TrialRecord]) -> list[Rung]:
    return [
        (
            r.trial,
            1,
            r.scores["map50_95"] - (0.05 if r.state == "complete" else 0.0),
            r.latency_ms or 0.0,
        )
        for r in records
        if r.scores
    ]
