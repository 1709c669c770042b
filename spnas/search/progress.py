"""What a user sees of a running search in a terminal: a view that stands still and is brought up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spnas.architecture import Architecture
from spnas.names import counted
from spnas.runs import TrialRecord, front_rows, front_table
from spnas.search.confirmation import confirmed_records

if TYPE_CHECKING:
    from spnas.search.confirmer import Confirmer
    from spnas.search.coordinator import Coordinator

_REFRESH_S = 0.5
_HEARTBEAT_S = 5.0
_RUNNING_ROWS, _ENDED_ROWS, _FRONT_ROWS = 4, 3, 8  # 24 lines in all, those of a terminal
_STATES = ("complete", "stopped", "infeasible", "failed")

# Trial, what it is, how many sites are replaced, and what is known of it; its time or cost.
Row = tuple[str, str, str, str, str]


class Progress:
    """Shows how a search comes along; a context manager around its trials.

    Args:
        draw: Gives what to show.
        heartbeat: Called now and then.
        console: Where to; None to draw nothing (the log says it all).
    """

    def __init__(
        self, draw: Callable[[], Group], heartbeat: Callable[[], None], console: Console | None
    ) -> None:
        self._draw, self._heartbeat = draw, heartbeat
        self._live = Live(console=console, auto_refresh=False) if console else None
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
    """Draw the state of a run: budget and time to go, what runs now, what ended last and what it cost, the front."""
    states = [record.state for record in coordinator.records]
    counts = [f"{states.count(state)} {state}" for state in _STATES if state in states]
    running: list[Row] = [
        (
            str(trial.proposal.trial),
            f"{trial.proposal.origin} {trial.proposal.architecture.id}",
            _replaced(trial.proposal.architecture, coordinator.sites),
            _reached(trial.evaluation.epochs, trial.evaluation.scores.get(coordinator.metric)),
            _clock(coordinator.seconds_since(trial.clock)),
        )
        for trial in coordinator.running.values()
    ]
    ended: list[Row] = [
        (
            str(record.trial),
            f"{record.origin} {record.architecture.id}",
            _replaced(record.architecture, coordinator.sites),
            _outcome(record, coordinator.metric),
            _cost(record),
        )
        for record in coordinator.records[-_ENDED_ROWS:][::-1]
    ]
    rows = front_rows(coordinator.records, coordinator.metric)
    to_go = coordinator.seconds_to_go()
    if to_go is not None:
        to_go += coordinator.ledger.reserved_seconds  # for the confirmation
    return Group(
        _bar(coordinator.share_spent(), coordinator.spent(), to_go),
        Text(
            f"trials {', '.join(counts) or 'none yet'}; hypervolume {coordinator.hypervolume():.4f}"
        ),
        *_work(running, ended),
        *_front(front_table(rows[:_FRONT_ROWS], coordinator.metric), len(rows)),
    )


def render_confirmation(confirmer: Confirmer) -> Group:
    """Draw the state of the last phase likewise; the front is the confirmed one, or that of the trials."""
    running: list[Row] = [
        (
            str(one.record.trial),
            f"seed {one.seed} {one.record.architecture.id}",
            "",
            "",
            _clock(confirmer.seconds_since(one.clock)),
        )
        for one in confirmer.running.values()
    ]
    ended: list[Row] = [
        (
            str(record.trial),
            f"seed {seed} {record.architecture.id}",
            "",
            _outcome(record, confirmer.metric),
            _cost(record),
        )
        for (_, seed), record in list(confirmer.done.items())[-_ENDED_ROWS:][::-1]
    ]
    trials, metric = confirmer.study.records, confirmer.metric
    shown = confirmed_records(trials, confirmer.done.values(), metric) or trials
    rows = front_rows(shown, metric)
    told = f"evaluating the front again: {len(confirmer.done)} done, {len(confirmer.to_do)} to do"
    return Group(
        _bar(confirmer.share_spent(), confirmer.spent(), confirmer.ledger.seconds_left()),
        Text(told),
        *_work(running, ended),
        *_front(front_table(rows[:_FRONT_ROWS], metric), len(rows)),
    )


def _bar(share: float, spent: str, to_go: float | None) -> Table:
    line = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=1.0, completed=min(1.0, share), width=24)
    left = f"to go {_clock(to_go)}" if to_go is not None else ""
    line.add_row(Text("budget"), bar, Text(spent), Text(left, style="bold"))
    return line


def _work(running: Sequence[Row], ended: Sequence[Row]) -> list[RenderableType]:
    """Draw what runs and what ended last as one table, so that their columns stand below each other."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for justify in ("left", "right", "left", "left", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    for title, rows in (("running", running[:_RUNNING_ROWS]), ("ended", ended)):
        for place, row in enumerate(rows):
            table.add_row(Text("" if place else title, style="bold"), *map(Text, row))
    hidden = len(running) - _RUNNING_ROWS
    more = [Text(f"and {hidden} more running", style="dim")] if hidden > 0 else []
    return [Text(), table, *more] if running or ended else []


def _front(table: Table, rows: int) -> list[RenderableType]:
    hidden = rows - _FRONT_ROWS
    more = [Text(f"and {counted(hidden, 'model')} more", style="dim")] if hidden > 0 else []
    return [Text(), table, *more] if rows else []


def _replaced(architecture: Architecture, sites: Sequence[str]) -> str:
    return f"{len(architecture)}/{len(sites)} sites"


def _reached(epochs: float, accuracy: float | None) -> str:
    return f"epoch {epochs:g}, {accuracy:.4f}" if accuracy is not None else ""


def _outcome(record: TrialRecord, metric: str) -> str:
    accuracy, ratio = record.scores.get(metric), record.latency_ratio
    figures = [f"{accuracy:.4f}" if accuracy is not None else "", f"{ratio:.3f}x" if ratio else ""]
    return " ".join([record.state, *(figure for figure in figures if figure)])


def _cost(record: TrialRecord) -> str:
    return "" if record.device_s is None else _clock(record.device_s)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
