from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

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


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 64)), min_size=1, max_size=20),
    st.floats(0, 1e5),
)
def test_charges_reserved_devices_times_time(steps: list[tuple[float, int]], before: float) -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("1gpu-h"), steps[0][1], spent=before, clock=clock)
    for seconds, devices in steps:
        ledger.hold(devices)
        clock.now += seconds
    assert ledger.total == pytest.approx(3600)
    assert ledger.spent == pytest.approx(before + sum(math.prod(step) for step in steps))
    left = ledger.seconds_left()
    assert left is not None
    assert left == pytest.approx((3600 - ledger.spent) / steps[-1][1])
    assert ledger.exhausted() == (left <= 0)


def test_wall_time_knows_no_devices() -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("45m"), 4, clock=clock)
    clock.now += 20 * 60
    ledger.hold(1)
    assert ledger.seconds_left() == pytest.approx(25 * 60)


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


def test_a_trial_hangs_that_takes_ten_times_what_trials_take() -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("100trials"), 2, clock=clock)
    assert ledger.timeout_s() == 3600
    ledger.note_trial(30)
    assert ledger.timeout_s() == 600
    ledger.note_trial(100)
    assert ledger.timeout_s() == 1000


def test_a_trial_that_hangs_does_not_outlive_the_budget_by_much() -> None:
    clock = Clock()
    ledger = Ledger(Budget.parse("1h"), 2, clock=clock)
    ledger.note_trial(100)
    clock.now += 3600 - 150
    assert ledger.may_start(0)
    assert ledger.timeout_s() == 150 + 200


@dataclass
class Running:
    """A trial of the simulation: the seconds that are left of each of its rungs."""

    started: float
    rungs: list[float]


def simulate(
    ledger: Ledger, clock: Clock, slots: int, trials: Iterator[list[float]], until: float
) -> tuple[float, float]:
    """Run trials as the coordinator does, until the budget is spent or a sitting is cut off.

    Returns:
        The shortest time that was left at a start, less what a trial takes, and the longest rung that was begun.
    """
    running: list[Running] = []
    least, longest, started = math.inf, 0.0, 0
    while True:
        while len(running) < slots and ledger.may_start(started):
            left = ledger.seconds_left()
            assert left is not None
            least = min(least, left - ledger.trial_seconds)
            running.append(Running(clock.now, next(trials)))
            started += 1
        if not running:
            return least, longest
        longest = max(longest, *(trial.rungs[0] for trial in running))
        step = min(trial.rungs[0] for trial in running)
        if clock.now + step > until:
            clock.now = until
            return least, longest
        clock.now += step
        for trial in running:
            trial.rungs[0] -= step
        for trial in [trial for trial in running if trial.rungs[0] <= 0]:
            trial.rungs.pop(0)
            if not trial.rungs:
                ledger.note_trial(clock.now - trial.started)
            if not trial.rungs or ledger.exhausted():
                running.remove(trial)


lengths = st.lists(st.floats(1, 200), min_size=1, max_size=4)


@given(
    st.lists(lengths, min_size=1, max_size=10),
    st.integers(1, 8),
    st.lists(st.floats(1, 2000), max_size=3),
    st.floats(0, 500),
)
def test_any_search_overshoots_by_one_rung_at_most(
    shapes: list[list[float]], slots: int, cuts: list[float], first_phase: float
) -> None:
    """Whatever trials take, however often it is cut off: all device-seconds are charged, none is begun in vain."""
    budget = Budget.parse("4gpu-h") if slots > 4 else Budget.parse("3600s")
    endless = (list(shape) for shape in itertools.cycle(shapes))
    spent = used = longest = 0.0
    for cut in [*cuts, math.inf]:
        clock = Clock()
        began = clock.now
        ledger = Ledger(budget, slots, spent=spent, clock=clock)
        clock.now += first_phase  # base network, tables: charged, too
        least, rung = simulate(ledger, clock, slots, endless, began + first_phase + cut)
        assert least > 0
        longest = max(longest, rung)
        used += (clock.now - began) * slots
        spent = ledger.spent
        assert spent == pytest.approx(used)
    total = ledger.total
    assert total is not None
    assert not ledger.may_start(0)
    assert used <= total + slots * longest + len(cuts) * first_phase * slots + 1e-6
