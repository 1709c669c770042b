"""Report what is wrong with a data set, all at once but not endlessly."""

from __future__ import annotations

from spnas.errors import DataError

SHOWN = 20


def raise_problems(problems: list[str]) -> None:
    """Raise the problems, the first ones in full and the others as a number; do nothing where there are none.

    Raises:
        DataError: There is a problem.
    """
    if not problems:
        return
    more = len(problems) - SHOWN
    rest = [f"and {more} more problems; `spnas check-data` lists all"] if more > 0 else []
    raise DataError([*problems[:SHOWN], *rest])
