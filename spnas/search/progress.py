"""What a user sees of a running search: a live table in a terminal, a plain log elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from spnas.runs import front_rows, front_table
from spnas.search.confirmation import confirmed_records

if TYPE_CHECKING:
    from spnas.search.confirmer import Confirmer
    from spnas.search.coordinator import Coordinator

_REFRESH_S = 0.5
_HEARTBEAT_S = 5.0
_FRONT_ROWS = 15


class Progress:
    """Shows how a search comes along; a context manager around its trials.

    Args:
        draw: Gives what to show.
        heartbeat: Called now and then.
        console: Where to; nothing is drawn where it is no terminal (the log says it all).
    """

    def __init__(
        self, draw: Callable[[], Group], heartbeat: Callable[[], None], console: Console
    ) -> None:
        self._draw, self._heartbeat = draw, heartbeat
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._drawn = self._beaten = 0.0

    def __enter__(self) -> Progress:
        """Start drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw the last state and leave it standing."""
        if self._live:
            self._live.update(self._draw(), refresh=True)
            self._live.stop()

    def tick(self) -> None:
        """Draw and keep what is spent, at most a few times a second; called from Ray's loop."""
        moment = time.monotonic()
        if moment - self._beaten >= _HEARTBEAT_S:
            self._beaten = moment
            self._heartbeat()
        if self._live and moment - self._drawn >= _REFRESH_S:
            self._drawn = moment
            self._live.update(self._draw(), refresh=True)


def render(coordinator: Coordinator) -> Group:
    """Draw the state of a run: a line of figures, the front, the running trials."""
    states = [record.state for record in coordinator.records]
    counts = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("complete", "stopped", "failed", "infeasible")
        if state in states
    )
    to_go = coordinator.seconds_to_go()
    figures = [
        f"budget {coordinator.spent()}",
        f"to go {_clock(to_go)}" if to_go is not None else "",
        f"trials {counts or 'none yet'}",
        f"running {len(coordinator.running)}",
        f"hypervolume {coordinator.hypervolume():.4f}",
    ]
    line = Text(" | ".join(part for part in figures if part))
    rows = front_rows(coordinator.records, coordinator.metric)
    return Group(line, front_table(rows[:_FRONT_ROWS], coordinator.metric))


def render_confirmation(confirmer: Confirmer) -> Group:
    """Draw the state of the last phase: a line of figures, and the front, confirmed or that of the trials."""
    line = Text(
        f"evaluating again | budget {confirmer.spent()} | done {len(confirmer.done)} | "
        f"running {len(confirmer.running)} | to do {len(confirmer.to_do)}"
    )
    trials, metric = confirmer.study.records, confirmer.metric
    shown = confirmed_records(trials, confirmer.done.values(), metric) or trials
    return Group(line, front_table(front_rows(shown, metric)[:_FRONT_ROWS], metric))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
