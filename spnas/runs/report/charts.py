"""The report's charts as Plotly takes them; whatever comes from the run is escaped, as Plotly reads texts as HTML.

Colours that are names of CSS variables (`--accent`) are looked up by the page, which knows whether it is dark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from itertools import accumulate
from typing import Any

from spnas.architecture import REGULAR
from spnas.runs.content import RunContent, cost_breakdown
from spnas.runs.front import front_hypervolume, front_records
from spnas.runs.records import TrialRecord
from spnas.runs.summary import find_base, with_epochs

Chart = dict[str, Any]

_LATENCY = "latency of the deployed form (ms)"


def front_chart(content: RunContent, confirmed: Sequence[TrialRecord]) -> Chart:
    """Draw accuracy over latency: complete trials, uniform architectures, the front and the base, with error bars.

    Args:
        content: The run.
        confirmed: Trials with what their re-evaluations say; front, base and uniforms are then theirs where they are.
    """
    shown = list(confirmed or content.trials)
    front = front_records(shown, content.metric)
    base = find_base(shown)
    uniform = [r for r in shown if r.origin == "uniform" and r.state == "complete"]
    special = {record.trial for record in [*front, *uniform, *([base] if base else [])]}
    rest = [r for r in content.in_state("complete") if confirmed or r.trial not in special]
    bases = [base] if base else []
    traces = [
        _points(content, rest, with_epochs("trials", rest), color="--faint", size=6, errors=False),
        _points(content, front, with_epochs("front", front), color="--accent", size=9, line=True),
        _points(content, uniform, "uniform", color="--second", size=14, symbol="diamond-open"),
        _points(content, bases, "base network", color="--third", size=15, symbol="star"),
    ]
    traces = [trace for trace in traces if trace["x"]]
    return {"data": traces, "layout": _axes(_LATENCY, f"{escape(content.metric_title)} (%)")}


def _points(
    content: RunContent,
    records: Sequence[TrialRecord],
    name: str,
    *,
    color: str,
    size: int,
    symbol: str = "circle",
    line: bool = False,
    errors: bool = True,
) -> Chart:
    known = [r for r in records if r.latency_ms is not None and content.metric in r.scores]
    trace: Chart = {
        "type": "scatter",
        "name": name,
        "mode": "lines+markers" if line else "markers",
        "x": [record.latency_ms for record in known],
        "y": [100 * record.scores[content.metric] for record in known],
        "customdata": [record.trial for record in known],
        "hovertext": [hover_text(content, record) for record in known],
        "hoverinfo": "text",
        "marker": {"color": color, "size": size, "symbol": symbol},
    }
    if line:  # from a model on, its accuracy is the best there is up to the next model's latency
        trace["line"] = {"shape": "hv", "width": 1.5, "color": color}
    if errors:
        bars = {"thickness": 1, "width": 3, "color": color}
        trace["error_y"] = bars | {"array": [_spread(content, record) for record in known]}
        trace["error_x"] = bars | {"array": [r.latency_half_interval_ms or 0.0 for r in known]}
    return trace


def _spread(content: RunContent, record: TrialRecord) -> float:
    """Give one standard deviation of the accuracy, in points; 0 where it is not known."""
    return 100 * record.scores.get(f"{content.metric}_std", 0.0)


def hover_text(content: RunContent, record: TrialRecord) -> str:
    """Tell of a trial in a few short lines, as Plotly takes them."""
    counts = Counter(str(record.architecture[site]) for site in content.sites)
    used = [f"{number} x {choice}" for choice, number in counts.most_common()]
    accuracy, ratio = record.scores.get(content.metric), record.latency_ratio
    lines = [
        f"trial {record.trial}, {record.origin}, {record.architecture.id}",
        "" if accuracy is None else f"{content.metric_title} {100 * accuracy:.2f}%",
        "" if record.latency_ms is None else f"latency {record.latency_ms:.2f} ms",
        "" if ratio is None else f"{ratio:.3f} of the base",
        *used[:6],
    ]
    return "<br>".join(escape(line) for line in lines if line)


def hypervolume_chart(content: RunContent) -> Chart:
    """Draw the hypervolume of the trials' front over what was spent when each trial ended."""
    before = sum(
        cost
        for phase, cost in content.costs.items()
        if phase not in ("trials", "confirmation", "other")
    )
    spent = list(accumulate((record.device_s or 0.0 for record in content.trials), initial=before))[
        1:
    ]
    front: list[TrialRecord] = []
    volumes: list[float] = []
    for record in content.trials:
        front = front_records([*front, record], content.metric)
        volumes.append(front_hypervolume(front, content.metric))
    trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "hypervolume",
        "x": [seconds / 60 for seconds in spent],
        "y": volumes,
        "line": {"shape": "hv", "width": 2, "color": "--accent"},
        "hovertemplate": "%{y:.4f} after %{x:.1f} min<extra></extra>",
    }
    layout = _axes(f"{content.device_unit}-minutes spent", "hypervolume")
    return {"data": [trace], "layout": layout | {"showlegend": False}}


def curves_chart(content: RunContent, front: Sequence[TrialRecord]) -> Chart | None:
    """Draw each trial's accuracy from rung to rung, in three groups; None where trials have no rungs."""
    if content.rungs.empty:
        return None
    models = {record.trial for record in front}
    at_rungs: dict[int, dict[float, float]] = {}
    for trial, epochs, accuracy in content.rungs[["trial", "epochs", content.metric]].itertuples(
        index=False
    ):
        at_rungs.setdefault(int(trial), {})[float(epochs)] = float(accuracy)
    groups = {
        "stopped": ("--second", 0.5),
        "complete": ("--faint", 0.5),
        "on the front": ("--accent", 1.0),
    }
    lines: dict[str, list[tuple[float | None, float | None, str]]] = {name: [] for name in groups}
    for record in content.trials:
        points = at_rungs.get(record.trial, {})
        if content.metric in record.scores:
            points = points | {float(record.epochs): record.scores[content.metric]}
        name = "on the front" if record.trial in models else record.state
        if name in lines and len(points) > 1 - (name == "stopped"):
            text = hover_text(content, record)
            lines[name] += [(epoch, 100 * points[epoch], text) for epoch in sorted(points)]
            lines[name].append((None, None, ""))  # a gap
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [x for x, _, _ in lines[name]],
            "y": [y for _, y, _ in lines[name]],
            "hovertext": [text for _, _, text in lines[name]],
            "hoverinfo": "text",
            "opacity": opacity,
            "line": {"width": 1.5, "color": color},
            "marker": {"size": 5, "color": color},
        }
        for name, (color, opacity) in groups.items()
        if lines[name]
    ]
    layout = _axes("epochs", f"{escape(content.metric_title)} (%)")
    layout["xaxis"]["dtick"] = 1 if max(content.rungs["epochs"]) < 10 else None
    return {"data": traces, "layout": layout} if traces else None


def costs_chart(content: RunContent) -> Chart | None:
    """Draw what each phase took, a bar each; None where nothing is known."""
    costs = cost_breakdown(content)
    total = sum(costs.values())
    if not total:
        return None
    names = [name for name in costs if costs[name] >= total / 1000][::-1]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": [escape(name) for name in names],
        "x": [costs[name] / 60 for name in names],
        "text": [f"{costs[name] / total:.0%}" for name in names],
        "textposition": "auto",
        "textangle": 0,
        "cliponaxis": False,
        "marker": {"color": "--accent"},
        "hovertemplate": f"%{{y}}: %{{x:.1f}} {content.device_unit}-min<extra></extra>",
    }
    layout = _axes(f"{content.device_unit}-minutes", "")
    layout["yaxis"] = {"automargin": True, "fixedrange": True}
    return {
        "data": [trace],
        "layout": layout | {"showlegend": False, "height": 90 + 30 * len(names)},
    }


def choices_chart(
    content: RunContent, front: Sequence[TrialRecord], colours: dict[str, str]
) -> Chart | None:
    """Draw the choice of each front model at each site where one of them is not regular."""
    sites = [s for s in content.sites if any(record.architecture[s] != REGULAR for record in front)]
    if not sites:
        return None
    choices = list(colours)
    steps = [(place / len(choices), colours[choice]) for place, choice in enumerate(choices)]
    ends = [*(start for start, _ in steps[1:]), 1.0]
    scale = [
        point
        for (start, c), end in zip(steps, ends, strict=True)
        for point in ((start, c), (end, c))
    ]
    rows = [[str(record.architecture[site]) for record in front] for site in sites]
    trace = {
        "type": "heatmap",
        "x": [f"{place:02d}" for place in range(len(front))],
        "y": [escape(site) for site in sites],
        "z": [[choices.index(choice) for choice in row] for row in rows],
        "customdata": [[escape(choice) for choice in row] for row in rows],
        "zmin": -0.5,
        "zmax": len(choices) - 0.5,
        "colorscale": scale,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}<br>model %{x}: %{customdata}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "model, the fastest first"}, "type": "category"},
        "yaxis": {"autorange": "reversed", "type": "category", "automargin": True, "dtick": 1},
        "height": 110 + 16 * len(sites),
        "showlegend": False,
    }
    return {"data": [trace], "layout": layout}


def _axes(x: str, y: str) -> Chart:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
