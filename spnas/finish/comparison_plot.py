"""The picture of a comparison: the front and the base network of each run."""

from __future__ import annotations

from pathlib import Path

from spnas.finish.comparison import Comparison
from spnas.runs import TrialRecord, atomic_file
from spnas.runs.summary import METRIC_TITLES

_TITLES = {"ratio": "latency over the base network's", "ms": "latency of the deployed form (ms)"}


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw accuracy over latency, a colour a run, into a PNG file, written atomically.

    Args:
        comparison: The runs.
        path: The file.
    """
    # matplotlib takes a second to import, and only a picture needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (run, volume) in enumerate(
        zip(comparison.runs, comparison.hypervolumes, strict=True)
    ):
        color = f"C{number % 10}"
        x, y = _points(comparison, run.front)
        label = f"{run.name} (hypervolume {volume:.4f})"
        axes.step(x, y, where="post", color=color, linewidth=1.5)
        axes.scatter(x, y, s=36, color=color, label=label, zorder=3)
        if run.base is not None:
            place = _points(comparison, [run.base])
            axes.scatter(*place, s=150, marker="*", color=color, edgecolor="black", zorder=4)
    axes.set_title("Pareto fronts; stars: base networks", loc="left", fontsize=11)
    axes.set_xlabel(_TITLES[comparison.unit])
    axes.set_ylabel(f"{METRIC_TITLES.get(comparison.metric, comparison.metric)} (%)")
    axes.margins(0.06)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="best", fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png")


def _points(comparison: Comparison, records: list[TrialRecord]) -> tuple[list[float], list[float]]:
    """Give latencies and accuracies in percent, of trials that have both."""
    pairs = [
        (late, 100 * accuracy)
        for record in records
        if (late := comparison.latency(record)) is not None
        and (accuracy := record.scores.get(comparison.metric)) is not None
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]
