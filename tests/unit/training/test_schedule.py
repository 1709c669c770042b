"""A schedule's learning rate and its limits."""

from __future__ import annotations

import pytest

from spnas.errors import ConfigError
from spnas.training import Schedule, doubling_rungs


def test_the_rate_warms_up_peaks_and_falls_to_nothing() -> None:
    schedule = Schedule(epochs=10, lr=0.01, warmup=0.2)
    rates = [schedule.lr_at(step, 100) for step in range(100)]
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == rates[20] == 0.01
    assert 0 < rates[0] < 0.001
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_schedule_of_few_steps_learns_at_every_step(steps: int) -> None:
    schedule = Schedule(epochs=1)
    assert all(0 < schedule.lr_at(step, steps) <= schedule.lr for step in range(steps))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"rungs": (2, 1)}, "rungs: expected rising epochs from 1 to 3"),
        ({"rungs": (4,)}, "rungs"),
        ({"rungs": (0,)}, "rungs"),
        ({"lr": float("nan")}, "lr: expected a positive number"),
        ({"batch_size": 1}, "batch_size"),
        ({"warmup": 1.0}, "warmup"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"calibration": 0}, "calibration"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Schedule(**{"epochs": 4, **changes})  # type: ignore[arg-type]


def test_every_wrong_value_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Schedule(epochs=4, lr=-1.0, warmup=2.0)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(("epochs", "rungs"), [(1, ()), (2, (1,)), (3, (1, 2)), (8, (1, 2, 4))])
def test_rungs_double_below_the_last_epoch(epochs: int, rungs: tuple[int, ...]) -> None:
    assert doubling_rungs(epochs) == rungs
    assert Schedule(epochs=epochs, rungs=rungs).rungs == rungs
