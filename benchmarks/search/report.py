"""Tables and a plot of what the contenders reached."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MARKS = (25, 50, 100, 200, 400)


def cell(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "-"
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def write_tables(table: pd.DataFrame) -> str:
    """Give a markdown table a problem: median share of the true hypervolume, with quartiles."""
    lines = []
    for problem, part in table.groupby("problem", sort=False):
        heads = ["contender", "seeds", *(f"{mark}" for mark in MARKS), "CPU s a suggestion"]
        lines += [f"### {problem}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for contender, rows in part.groupby("contender", sort=False):
            cells = [cell(rows[str(mark)]) for mark in MARKS]
            seconds = f"{rows.seconds.median():.3f}"
            lines.append("| " + " | ".join([contender, str(len(rows)), *cells, seconds]) + " |")
        lines.append("")
    return "\n".join(lines)


def write_plot(table: pd.DataFrame, path: Path) -> None:
    """Plot the median share against evaluations, quartiles shaded, a panel a problem."""
    problems = list(table.problem.unique())
    columns = min(3, len(problems))
    rows = math.ceil(len(problems) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.4 * columns, 3.4 * rows), squeeze=False)
    colours = {name: f"C{i}" for i, name in enumerate(table.contender.unique())}
    marks = [str(mark) for mark in MARKS]
    for panel, problem in zip(axes.flat, problems, strict=False):
        for contender, part in table[table.problem == problem].groupby("contender", sort=False):
            low, middle, high = (part[marks].quantile(q) for q in (0.25, 0.5, 0.75))
            panel.plot(MARKS, middle, "o-", ms=3, color=colours[contender], label=contender)
            panel.fill_between(MARKS, low, high, alpha=0.15, color=colours[contender], lw=0)
        panel.set(title=problem, xscale="log", xticks=MARKS, xticklabels=marks)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    for panel in axes.flat[len(problems) :]:
        panel.axis("off")
    axes[0, 0].set_ylabel("share of the true hypervolume")
    axes[-1, 0].set_xlabel("evaluations")
    handles = {}
    for panel in axes.flat:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
