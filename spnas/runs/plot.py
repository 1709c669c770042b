"""The picture of a run: every complete trial, the Pareto front, the base network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spnas.runs.files import atomic_file
from spnas.runs.front import front_records
from spnas.runs.records import TrialRecord
from spnas.runs.summary import METRIC_TITLES, find_base

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[float, float]]
_GREY, _BLUE, _RED = "#9aa0a6", "#1a5fb4", "#c01c28"


def plot_front(
    records: Sequence[TrialRecord],
    path: Path,
    metric: str,
    confirmed: Sequence[TrialRecord] = (),
) -> None:
    """Draw accuracy over latency into a PNG file, written atomically.

    Args:
        records: A run's trials; those not complete are not drawn, but for the base network.
        path: The file.
        metric: The accuracy of the front, `map50_95` or `top1`.
        confirmed: Trials with what their re-evaluations say; front and base network are then theirs, with error bars.
    """
    # matplotlib takes a second to import, and only a picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    complete = [record for record in records if record.state == "complete"]
    shown = confirmed or records
    front = front_records(shown, metric)
    _draw(axes, complete, front, find_base(shown), metric)
    if confirmed:
        _draw_errors(axes, front, metric)
    kind = "confirmed front" if confirmed else "front"
    title = f"{len(complete)} complete trials, {len(front)} models on the {kind}"
    _label(axes, METRIC_TITLES.get(metric, metric), title)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _points(records: Sequence[TrialRecord], metric: str) -> Points:
    figures = [(record.latency_ms, record.scores.get(metric)) for record in records]
    return [(late, 100 * acc) for late, acc in figures if late is not None and acc is not None]


def _draw(
    axes: Axes,
    complete: Sequence[TrialRecord],
    models: Sequence[TrialRecord],
    base: TrialRecord | None,
    metric: str,
) -> None:
    trials = _points(complete, metric)
    axes.scatter(*_xy(trials), s=24, color=_GREY, alpha=0.7, linewidths=0, label="complete trial")
    front = _points(models, metric)
    if front:
        # From a model on, its accuracy is the best there is up to the next model's latency.
        axes.step(*_xy(front), where="post", color=_BLUE, linewidth=1.5, zorder=3)
        axes.scatter(*_xy(front), s=40, color=_BLUE, zorder=4, label="Pareto front")
    place = _points([base], metric) if base is not None else []
    if place:  # it may be known by its latency alone
        axes.scatter(*_xy(place), s=170, marker="*", color=_RED, zorder=5, label="base network")


def _draw_errors(axes: Axes, models: Sequence[TrialRecord], metric: str) -> None:
    """Draw one standard deviation of each accuracy."""
    spreads = [100 * record.scores.get(f"{metric}_std", 0.0) for record in models]
    x, y = _xy(_points(models, metric))
    axes.errorbar(x, y, yerr=spreads, fmt="none", color=_BLUE, capsize=3, linewidth=1)


def _xy(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(axes: Axes, accuracy: str, title: str) -> None:
    axes.set_title(f"Pareto front: {title}", loc="left", fontsize=11)
    axes.set_xlabel("latency of the deployed form (ms)")
    axes.set_ylabel(f"{accuracy} (%)")
    axes.margins(0.06)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="#dddddd")
