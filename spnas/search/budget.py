"""What a search may spend, and what it has spent."""

from __future__ import annotations

import re
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from spnas.errors import BudgetError
from spnas.names import counted

Unit = Literal["gpu", "cpu", "wall", "trials"]

_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?:(?P<unit>gpu|cpu)-)?(?P<scale>s|min|m|h|d)")
_TRIALS = re.compile(r"(?P<amount>\d+)trials?")
_FORMS = (
    "8gpu-h (GPUs reserved x hours), 30cpu-min (cores reserved x minutes), 45m (wall) or 200trials"
)

_HANGS, _PATIENCE_S = 10.0, 600.0
_HANGS_AT_END, _PATIENCE_AT_END_S = 2.0, 60.0
_UNKNOWN_S = 3600.0  # where nothing says how long a trial takes


@dataclass(frozen=True)
class Budget:
    """An amount of device time, wall time or trials.

    Attributes:
        text: As the user wrote it.
        unit: `gpu` or `cpu` (devices reserved x seconds), `wall` (seconds) or `trials`.
        amount: Seconds, or a number of trials.

    Examples:
        >>> Budget.parse("8gpu-h")
        Budget(text='8gpu-h', unit='gpu', amount=28800.0)
        >>> Budget.parse("200trials").amount
        200.0
    """

    text: str
    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget.

        Raises:
            BudgetError: The text has none of the four forms, or nothing could be done with it.
        """
        stripped = text.strip().lower()
        if match := _TRIALS.fullmatch(stripped):
            unit: Unit = "trials"
            amount = float(match["amount"])
        elif match := _TIME.fullmatch(stripped):
            unit = {"gpu": "gpu", "cpu": "cpu"}.get(match["unit"] or "", "wall")  # type: ignore[assignment]
            amount = float(match["amount"]) * _SECONDS[match["scale"]]
        else:
            raise BudgetError(f"budget {text!r} cannot be read, expected a form such as {_FORMS}")
        if amount <= 0:
            raise BudgetError(f"budget {text!r} is nothing, expected more than zero")
        return cls(stripped, unit, amount)

    def wall_seconds(self, devices: float) -> float | None:
        """Give the wall seconds it lasts with that many devices reserved; None for a number of trials."""
        if self.unit == "trials":
            return None
        return self.amount if self.unit == "wall" else self.amount / devices


class Ledger:
    """Counts what a run spends: devices reserved times wall seconds, over all its sittings.

    The run reserves all its devices from start to end, so every phase, every failed and every
    stopped trial is in it without being added up.

    Args:
        budget: What may be spent.
        devices: GPUs or cores that the run reserves.
        spent: Device-seconds that earlier sittings spent.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        budget: Budget,
        devices: float,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.devices = devices
        self._before = spent
        self._clock = clock
        self._start = clock()
        self._reserved = 0.0
        self._expected = 0.0
        self._lengths: list[float] = []

    @property
    def spent(self) -> float:
        """Device-seconds spent so far, earlier sittings included."""
        return self._before + (self._clock() - self._start) * self.devices

    @property
    def total(self) -> float | None:
        """Device-seconds that may be spent; None where the budget is a number of trials."""
        wall = self.budget.wall_seconds(self.devices)
        return None if wall is None else wall * self.devices

    def hold(self, devices: float) -> None:
        """Count another number of devices from now on, such as those of the nodes that are left.

        A budget in wall time knows no devices: it goes on as it was.
        """
        if self.budget.unit != "wall":
            self._before, self._start, self.devices = self.spent, self._clock(), devices

    def reserve(self, device_seconds: float) -> None:
        """Keep this much for a later phase: it counts as spent until `begin_phase`."""
        self._reserved = device_seconds

    @property
    def reserved_seconds(self) -> float:
        """Wall seconds that are kept for a later phase."""
        return self._reserved / self.devices

    def begin_phase(self, wall_seconds: float) -> None:
        """Free what was reserved; take this for a trial's length, wall seconds, until one of the phase has ended."""
        self._reserved = 0.0
        self._lengths = []
        self._expected = wall_seconds

    def seconds_left(self) -> float | None:
        """Wall seconds that are left; None where the budget is a number of trials."""
        total = self.total
        return None if total is None else (total - self.spent - self._reserved) / self.devices

    def expect_trial(self, wall_seconds: float) -> None:
        """Take this for a trial's length, wall seconds, until a trial has ended."""
        self._expected = wall_seconds

    def note_trial(self, wall_seconds: float) -> None:
        """Learn how long a trial takes, wall seconds, to know which ones can still end in time."""
        insort(self._lengths, wall_seconds)

    @property
    def trial_seconds(self) -> float:
        """How long the next trial may take, wall seconds: longer than four in five; as expected before there was any.

        Not the longest so far: one trial that waited long for another's latency measurement would end a search early.
        One that takes longer still ends at its next rung once the budget is spent.
        """
        if not self._lengths:
            return self._expected
        return self._lengths[int(0.8 * len(self._lengths))]

    def timeout_s(self) -> float:
        """Give the wall seconds after which a trial that starts now is taken to hang.

        Ten times what trials take, and never less than ten minutes: a worker's first trial also reads the data and
        waits for others' measurements. But where the budget ends, soon after that, since no trial starts that should
        not have ended by then.
        """
        usual = self.trial_seconds
        patience = max(_HANGS * usual, _PATIENCE_S) if usual else _UNKNOWN_S
        left = self.seconds_left()
        if left is None:
            return patience
        return min(patience, max(left, 0.0) + max(_HANGS_AT_END * usual, _PATIENCE_AT_END_S))

    def may_start(self, trials: int) -> bool:
        """Whether another trial can be started and ended within the budget.

        Args:
            trials: Trials started so far.
        """
        left = self.seconds_left()
        if left is None:
            return trials < self.budget.amount
        return left > self.trial_seconds

    def exhausted(self) -> bool:
        """Whether all of it is spent, so that running trials end at their next rung."""
        left = self.seconds_left()
        return left is not None and left <= 0

    def share_spent(self, ended: int, allowed: float | None = None) -> float:
        """Give what is spent as a share of the budget.

        Args:
            ended: Trials ended so far, which count where the budget is a number of trials.
            allowed: That number, where it is another than the budget's.
        """
        if self.total is None:
            return ended / max(1.0, self.budget.amount if allowed is None else allowed)
        return self.spent / self.total

    def describe(self, trials: int = 0) -> str:
        """Tell what is spent of what, in the budget's own unit.

        Args:
            trials: Trials ended so far.
        """
        if self.total is None:
            return f"{trials} of {counted(self.budget.amount, 'trial')}"
        scale, unit = self._unit
        return f"{self._budgeted(self.spent) / scale:.1f} of {self.budget.amount / scale:g} {unit}"

    def tell(self, device_seconds: float) -> str:
        """Tell device-seconds in the budget's own unit, such as `1.5 gpu-min`."""
        scale, unit = self._unit
        return f"{self._budgeted(device_seconds) / scale:.1f} {unit}"

    def _budgeted(self, device_seconds: float) -> float:
        return device_seconds / self.devices if self.budget.unit == "wall" else device_seconds

    @property
    def _unit(self) -> tuple[float, str]:
        """Seconds and name of what amounts are told in."""
        name = "h" if self.budget.amount >= 2 * _SECONDS["h"] else "min"
        return _SECONDS[name], name if self.budget.unit == "wall" else f"{self.budget.unit}-{name}"
