"""When a search should end although its budget is not spent: trials that fail, or that no limit lets through."""

from __future__ import annotations

from collections.abc import Sequence

from spnas.runs import TrialRecord
from spnas.search.limits import Limits

_MOST_FAILURES = 5  # in a row
_MOST_INFEASIBLE = 50  # and no candidate that met the limits


class Patience:
    """Watches trials end.

    Args:
        slots: Trials that run at the same time.
        earlier: Those that ended in earlier sittings, in order.

    Attributes:
        failing: Whether it is over since trials fail.
    """

    def __init__(self, slots: int, earlier: Sequence[TrialRecord]) -> None:
        self._most_failures = max(_MOST_FAILURES, 2 * slots)
        self._failures = 0
        self.failing = False
        for record in earlier:
            self._count(record)

    def _count(self, record: TrialRecord) -> None:
        self._failures = self._failures + 1 if record.state == "failed" else 0

    def over(self, records: Sequence[TrialRecord], limits: Limits) -> str | None:
        """Say why the search should end, None where it should go on.

        Args:
            records: All that ended, the one that just did so last.
            limits: What candidates may cost.
        """
        self._count(records[-1])
        reason = self._failed(records[-1])
        self.failing = self.failing or reason is not None
        return reason or _missed(records, limits)

    def _failed(self, record: TrialRecord) -> str | None:
        """Where the base network itself fails, or one trial after another, the next would fail as well."""
        if record.state == "failed" and record.architecture.is_base:
            return f"the base network's own trial failed: {record.error}"
        if self._failures >= self._most_failures:
            return f"{self._failures} trials in a row failed, the last one: {record.error}"
        return None


def _missed(records: Sequence[TrialRecord], limits: Limits) -> str | None:
    """Where many candidates ended, the cheapest uniform ones among them, and none met the limits, none will."""
    ended = [r for r in records if r.state != "failed" and not r.architecture.is_base]
    missed = [r for r in ended if r.state == "infeasible"]
    if records[-1].state != "infeasible" or len(missed) < max(_MOST_INFEASIBLE, len(ended)):
        return None
    nearest = min(missed, key=lambda r: sum(limits.exceeded(r).values()))
    return (
        f"none of {len(missed)} candidates met the limits; trial {nearest.trial} came nearest: "
        f"{nearest.error}; expected larger limits or another space"
    )
