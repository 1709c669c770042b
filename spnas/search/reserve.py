"""What trials leave of the budget for the confirmation of their front."""

from __future__ import annotations

import logging

from spnas.search.budget import Ledger

logger = logging.getLogger("spnas")

_MOST_PARTS = 2.0


class Reserve:
    """Keeps the confirmation's part of a ledger, as large as it is of use.

    Up to twice the part is kept where that makes the difference between a front that is confirmed and one that is not.
    Where even that does not reach, trials get the part too: a few re-evaluations confirm nothing.

    Args:
        ledger: The budget; what is reserved of it when the first trial starts is the part.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._part_s: float | None = None

    def may_start(self, trials: int, needed_s: float) -> bool:
        """Whether the budget allows another trial beside the confirmation.

        Args:
            trials: Trials started so far.
            needed_s: Wall seconds in which the base and half of the front would be evaluated again.
        """
        if self._part_s is None:
            self._part_s = self._ledger.reserved_seconds
        stretched = self._part_s < needed_s <= _MOST_PARTS * self._part_s
        self._keep(needed_s if stretched else self._part_s)
        if self._ledger.may_start(trials):
            return True
        if needed_s <= _MOST_PARTS * self._part_s or not self._part_s:
            return False
        logger.info(
            "to evaluate the base and half of the front again takes about %s, %s are kept for it: they go to trials; "
            "a larger --budget has room for both",
            *(self._ledger.tell(s * self._ledger.devices) for s in (needed_s, self._part_s)),
        )
        self._part_s = 0.0
        self._keep(0.0)
        return self._ledger.may_start(trials)

    def _keep(self, wall_seconds: float) -> None:
        self._ledger.reserve(wall_seconds * self._ledger.devices)
