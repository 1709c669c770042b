"""One trial's record, and the CSV columns it fills."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from spnas.architecture import Architecture

State = Literal["complete", "stopped", "failed", "infeasible"]
Origin = Literal["base", "uniform", "seed", "sampler"]


@dataclass
class TrialRecord:
    """What is known of one trial once it has ended. None stands for "not known" and becomes an empty cell.

    Attributes:
        trial: Number of the trial, the base network being 0.
        state: `complete` (full proxy budget), `stopped` (at a rung or by the budget), `failed` or `infeasible`.
        architecture: What was evaluated.
        origin: Where the architecture came from.
        epochs: Epochs reached.
        scores: The task's figures by column name, the last ones measured, each in 0..1, and the spread of each under
            its name with `_std`.
        latency_ms: Latency of the deployed form: `latency_ratio` times the base's latency in this run.
        latency_std_ms: Its spread, standard deviation of the repeated measurements.
        latency_ratio: Latency over the base's, the two measured interleaved.
        latency_ratio_low: Lower end of its 95% confidence interval.
        latency_ratio_high: Upper end.
        latency_warning: What disturbed that measurement, also when it was repeated.
        params: Parameters of the training form.
        macs: Multiply-accumulates of the training form at the task's image size, counted by thop.
        forms: Site to deployed form, where that is not the operator's default; in the model yaml, not in the CSV.
        memory_mb: Peak memory of a forward of the deployed form, MB.
        batch: Images of a training step: half of what was planned where the device's memory ran out.
        train_s: Wall seconds of training and validation.
        device_s: Device-seconds charged to the budget.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
        error: One line: why it failed, what stopped it, or which limit it exceeds.
        seeds: Re-evaluations that the scores are the means of; None for those of the trial itself.
    """

    trial: int
    state: State
    architecture: Architecture
    origin: Origin = "sampler"
    epochs: float = 0
    scores: dict[str, float] = field(default_factory=dict)
    latency_ms: float | None = None
    latency_std_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_low: float | None = None
    latency_ratio_high: float | None = None
    latency_warning: str | None = None
    params: int | None = None
    macs: int | None = None
    forms: dict[str, str] = field(default_factory=dict)
    memory_mb: float | None = None
    batch: int | None = None
    train_s: float | None = None
    device_s: float | None = None
    started: str | None = None
    finished: str | None = None
    error: str | None = None
    seeds: int | None = None

    @property
    def latency_half_interval_ms(self) -> float | None:
        """Half of the 95% confidence interval of the latency, ms."""
        low, high = self.latency_ratio_low, self.latency_ratio_high
        if low is None or high is None or not self.latency_ratio or self.latency_ms is None:
            return None
        return (high - low) / 2 * self.latency_ms / self.latency_ratio

    def to_row(self, score_columns: tuple[str, ...], sites: tuple[str, ...]) -> dict[str, Any]:
        """Give the CSV row: columns in the order of `csv_columns`, one a site with its choice's text."""
        row: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        row |= self.scores
        row["arch_id"] = self.architecture.id
        row["error"] = " ".join(self.error.split()) or None if self.error else None
        row |= {site: str(self.architecture[site]) for site in sites}
        return {name: row.get(name) for name in csv_columns(score_columns, sites)}


def csv_columns(score_columns: tuple[str, ...], sites: tuple[str, ...]) -> list[str]:
    """List the columns of trials.csv: fixed ones, the task's figures each with its `_std`, then one a site."""
    scores = [name for column in score_columns for name in (column, f"{column}_std")]
    return [
        *("trial", "state", "arch_id", "origin", "epochs"),
        *scores,
        *("latency_ms", "latency_std_ms", "latency_ratio"),
        *("latency_ratio_low", "latency_ratio_high", "latency_warning"),
        *("params", "macs", "memory_mb"),
        *("batch", "train_s", "device_s", "started", "finished", "error"),
        *sites,
    ]
