"""What a search's phases will take, foretold from what a step, a validation and a measurement take."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from spnas.names import counted
from spnas.search.budget import Budget
from spnas.search.plan import Plan
from spnas.search.seeds import seed_architectures
from spnas.training import Schedule


@dataclass(frozen=True)
class Costs:
    """Wall seconds, measured with the base network.

    Attributes:
        base_step_s: A training step with all the cores that the base's training has.
        step_s: A training step with a trial's cores.
        image_s: A validation image, likewise.
        latency_s: A latency measurement.
    """

    base_step_s: float
    step_s: float
    image_s: float
    latency_s: float


@dataclass(frozen=True)
class Phase:
    """A phase of a search.

    Attributes:
        name: What it is.
        told: What is done in it.
        wall_s: How long it will take, wall seconds.
        share: Of the budget, or of the whole time where that is a number of trials.
        trials: Trainings of candidates in it.
    """

    name: str
    told: str
    wall_s: float
    share: float
    trials: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


def forecast(plan: Plan, costs: Costs) -> list[Phase]:
    """Foretell a search's phases: base network, table and scores, trials (the seeds first), confirmation.

    Trials are counted as if all were trained to their end: early stopping and limits make them more. Starting Ray and
    its workers is not counted.

    Args:
        plan: The search.
        costs: What its parts take.
    """
    total = Budget.parse(plan.config.budget).wall_seconds(plan.devices)
    base_s = costs.latency_s
    if plan.base_schedule is not None:
        base_s += _training_s(plan, plan.base_schedule, costs.base_step_s, costs.image_s)
    # Measured where trials train, latency makes the trials in the other slots wait too.
    measuring_s = costs.latency_s * (plan.slots if plan.config.latency_on is None else 1)
    trial_s = measuring_s + _training_s(plan, plan.schedule, costs.step_s, costs.image_s)
    # Latency is measured with one seed in three.
    again_s = measuring_s / 3 + _training_s(
        plan, plan.confirm_schedule, costs.step_s, costs.image_s
    )
    if total is None:
        table_s = 0.0
        trials = int(Budget.parse(plan.config.budget).amount)
        again = int(plan.config.confirm_share * trials)
        trials_s, again_wall_s = trials * trial_s / plan.slots, again * again_s / plan.slots
        total = base_s + trials_s + again_wall_s
    else:
        left = max(0.0, total - base_s)
        table_s = plan.config.table_share * left
        again_wall_s = plan.config.confirm_share * (left - table_s)
        trials_s = left - table_s - again_wall_s
        trials = int(trials_s / trial_s) * plan.slots
        again = int(again_wall_s / again_s) * plan.slots
    again = again if again > 1 else 0
    seeds = min(trials, _seeds(plan))
    rest = trials - seeds
    seeded = seeds / max(1, trials)
    parts = [
        ("base network", plan.base_told, base_s, 0),
        ("table and scores", "at most" if table_s else "not limited", table_s, 0),
        ("seeds", f"about {counted(seeds, 'trial')}", trials_s * seeded, seeds),
        ("trials", f"about {counted(rest, 'trial')}", trials_s * (1 - seeded), rest),
        ("confirmation", f"up to {counted(again, 're-evaluation')}", again_wall_s, again),
    ]
    return [
        Phase(name, told, wall_s, wall_s / total, number) for name, told, wall_s, number in parts
    ]


def _training_s(plan: Plan, schedule: Schedule, step_s: float, image_s: float) -> float:
    """Give the seconds of a training with its scorings."""
    steps = schedule.epochs * math.ceil(plan.info.train_images / schedule.batch_size)
    scorings = 1 + len(schedule.rungs)
    return steps * step_s + scorings * (plan.info.val_images + schedule.calibration) * image_s


def _seeds(plan: Plan) -> int:
    """Count the architectures that are evaluated before the sampler's."""
    return len(seed_architectures(plan.space))
