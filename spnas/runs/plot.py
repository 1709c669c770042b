"""The picture of a run: complete trials, the Pareto front, uniform architectures, the base network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas.runs.files import atomic_file
from spnas.runs.front import front_records
from spnas.runs.records import TrialRecord
from spnas.runs.summary import METRIC_TITLES, find_base, with_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY, _BLUE, _AMBER, _BLACK = "#a3abb5", "#1d5fd1", "#b86a00", "#16191d"  # those of report.html


def plot_front(
    records: Sequence[TrialRecord],
    path: Path,
    metric: str,
    confirmed: Sequence[TrialRecord] = (),
) -> None:
    """Draw accuracy over latency into a PNG file, fit for a column of a paper, written atomically.

    One standard deviation of the accuracy and the 95% interval of the latency are drawn where they are known.

    Args:
        records: A run's trials; those not complete are not drawn, but for the base network.
        path: The file.
        metric: The accuracy of the front, `map50_95` or `top1`.
        confirmed: Trials with what their re-evaluations say; front, uniform architectures and base are then theirs.
    """
    # matplotlib takes a second to import, and only a picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = list(confirmed or records)
    front, base = front_records(shown, metric), find_base(shown)
    uniform = [r for r in shown if r.origin == "uniform" and r.state == "complete"]
    special = {record.trial for record in [*front, *uniform, *([base] if base else [])]}
    complete = [r for r in records if r.state == "complete"]
    rest = [r for r in complete if confirmed or r.trial not in special]
    _draw(axes, rest, metric, with_epochs("trials", rest), color=_GREY, markersize=4)
    _draw(
        axes, uniform, metric, "uniform", color=_AMBER, marker="D", markersize=7, fillstyle="none"
    )
    if front:
        # From a model on, its accuracy is the best there is up to the next model's latency.
        points = _known(front, metric)
        axes.step(*_xy(points, metric), where="post", color=_BLUE, linewidth=1.5, zorder=2)
    _draw(axes, front, metric, with_epochs("front", front), color=_BLUE, markersize=6)
    bases = [base] if base else []
    _draw(axes, bases, metric, "base network", color=_BLACK, marker="*", markersize=13)
    _label(axes, METRIC_TITLES.get(metric, metric))
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _known(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """Leave out what is known by its latency alone, or not even that."""
    return [r for r in records if r.latency_ms is not None and metric in r.scores]


def _xy(records: Sequence[TrialRecord], metric: str) -> tuple[list[float], list[float]]:
    return [r.latency_ms or 0.0 for r in records], [100 * r.scores[metric] for r in records]


def _draw(axes: Axes, records: Sequence[TrialRecord], metric: str, name: str, **style: Any) -> None:
    """Draw points, all but the small grey ones with their error bars."""
    known = _known(records, metric)
    if not known:
        return
    style = {"marker": "o", "linestyle": "none", "label": name} | style
    if style["color"] == _GREY:
        axes.plot(*_xy(known, metric), **style, markeredgewidth=0, zorder=1)
        return
    spreads = [100 * record.scores.get(f"{metric}_std", 0.0) for record in known]
    intervals = [record.latency_half_interval_ms or 0.0 for record in known]
    axes.errorbar(
        *_xy(known, metric),
        yerr=spreads,
        xerr=intervals,
        **style,
        elinewidth=0.8,
        capsize=0,
        zorder=3,
    )


def _label(axes: Axes, accuracy: str) -> None:
    axes.set_xlabel("latency of the deployed form (ms)")
    axes.set_ylabel(f"{accuracy} (%)")
    axes.margins(0.06)
    axes.grid(color="#e3e6ea", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        place: dict[str, Any] = {
            "loc": "lower left",
            "bbox_to_anchor": (0, 1),
            "ncols": 4,
            "borderaxespad": 0.2,
        }
        axes.legend(**place, frameon=False, fontsize=9, handletextpad=0.3, columnspacing=1.2)
