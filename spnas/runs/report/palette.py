"""Colours of choices that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spnas.architecture import REGULAR, Choice
from spnas.runs.records import TrialRecord

# Okabe and Ito, "Color Universal Design", 2008, less black, which a dark page hides, and yellow, as a light one does.
_HUES = ("230,159,0", "86,180,233", "0,158,115", "213,94,0", "204,121,167", "0,114,178")
_REGULAR = "rgba(128,128,128,0.16)"
_FAINTEST = 0.35


def choices_of(records: Iterable[TrialRecord], sites: Sequence[str]) -> list[str]:
    """List the choices that records use, `regular` first, an operator's together, the largest ratio first."""
    used = {record.architecture[site] for record in records for site in sites} - {REGULAR}
    return [str(REGULAR), *(str(choice) for choice in sorted(used, key=_order))]


def colours(choices: Sequence[str]) -> dict[str, str]:
    """Give each choice a colour: a hue for its operator, fainter for every further choice of it; grey for `regular`."""
    by_operator: dict[str, list[str]] = {}
    for choice in choices:
        by_operator.setdefault(Choice.parse(choice).op, []).append(choice)
    by_operator.pop(REGULAR.op, None)
    found = {str(REGULAR): _REGULAR}
    for place, own in enumerate(by_operator.values()):
        step = (1 - _FAINTEST) / max(1, len(own) - 1)
        for number, choice in enumerate(own):
            found[choice] = f"rgba({_HUES[place % len(_HUES)]},{1 - number * step:.2f})"
    return found


def _order(choice: Choice) -> tuple[str, list[float], str]:
    ratios = [-value for value in dict(choice.params).values() if isinstance(value, float)]
    return choice.op, ratios, str(choice)
