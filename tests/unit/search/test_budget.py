from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas.errors import BudgetError
from spnas.search.budget import Budget, Ledger


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("8gpu-h", "gpu", 8 * 3600),
        ("30cpu-min", "cpu", 1800),
        ("1.5gpu-min", "gpu", 90),
        ("45m", "wall", 2700),
        ("90s", "wall", 90),
        ("2h", "wall", 7200),
        ("200trials", "trials", 200),
        ("1trial", "trials", 1),
        (" 40CPU-MIN ", "cpu", 2400),
    ],
)
def test_reads_every_form(text: str, unit: str, amount: float) -> None:
    budget = Budget.parse(text)
    assert (budget.unit, budget.amount) == (unit, amount)


@pytest.mark.parametrize(
    "text", ["8gpu", "gpu-h", "-3h", "10", "", "3 trials h", "0trials", "0m", "1tpu-h"]
)
def test_refuses_what_is_no_budget(text: str) -> None:
    with pytest.raises(BudgetError, match="budget"):
        Budget.parse(text)


def test_error_lists_the_forms() -> None:
    with pytest.raises(
        BudgetError, match=r"'8gpu' cannot be read.*8gpu-h.*30cpu-min.*45m.*200trials"
    ):
        Budget.parse("8gpu")


@given(st.lists(st.floats(0, 1000), max_size=20), st.integers(1, 64), st.floats(0, 1e5))
def test_charges_reserved_devices_times_time(
    steps: list[float], devices: int, before: float
) -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("1gpu-h"), devices, spent=before, clock=clock)
    for step in steps:
        clock.now += step
    assert ledger.spent == pytest.approx(before + sum(steps) * devices)
    left = ledger.seconds_left()
    assert left is not None
    assert left == pytest.approx((3600 - ledger.spent) / devices)
    assert ledger.exhausted() == (left <= 0)


def test_starts_no_trial_that_cannot_end_in_time() -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("2cpu-min"), 2, clock=clock)
    ledger.note_trial(25)
    clock.now += 30
    assert ledger.may_start(0)
    clock.now += 6
    assert not ledger.may_start(0)
    assert not ledger.exhausted()
    clock.now += 24
    assert ledger.exhausted()


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=40))
def test_the_next_trial_is_taken_to_be_longer_than_four_in_five(lengths: list[float]) -> None:
    ledger = Ledger(Budget.parse("1h"), 1, clock=Clock())
    ledger.expect_trial(7)
    assert ledger.trial_seconds == 7
    for length in lengths:
        ledger.note_trial(length)
    shorter = sum(length <= ledger.trial_seconds for length in lengths)
    assert ledger.trial_seconds in lengths
    assert shorter > 0.8 * len(lengths) - 1e-9


def test_eight_gpu_hours_on_four_gpus_last_two_hours() -> None:
    assert Budget.parse("8gpu-h").wall_seconds(4) == 2 * 3600
    assert Budget.parse("45m").wall_seconds(4) == 45 * 60


def test_a_number_of_trials_knows_no_time() -> None:
    ledger = Ledger(Budget.parse("3trials"), 2, clock=Clock())
    assert ledger.may_start(2)
    assert not ledger.may_start(3)
    assert not ledger.exhausted()
    assert ledger.seconds_left() is None
