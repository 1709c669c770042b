"""Puts the report together: figures, tables and charts in one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spnas.runs.content import RunContent
from spnas.runs.files import write_text_atomic
from spnas.runs.front import front_records, model_file
from spnas.runs.records import TrialRecord
from spnas.runs.report.charts import (
    choices_chart,
    costs_chart,
    curves_chart,
    front_chart,
    hypervolume_chart,
)
from spnas.runs.report.findings import warnings_of
from spnas.runs.report.palette import choices_of, colours
from spnas.runs.summary import count_text, find_base

_FOLDER = Path(__file__).parent


def write_report(
    path: Path, content: RunContent, confirmed: Sequence[TrialRecord] = (), told: str = ""
) -> None:
    """Write a run as one HTML page that needs no network, atomically.

    The page allows itself no other scripts than its own, by their hashes (Content-Security-Policy), and what comes from
    the run is escaped: names and messages in a run from elsewhere cannot act.

    Args:
        path: The file.
        content: The run, in any state.
        confirmed: Trials with what their re-evaluations say; the front is then theirs.
        told: A sentence on whether the front is confirmed, and by what.
    """
    # Only a report needs them.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    templates = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [get_plotlyjs(), (_FOLDER / "page.js").read_text(encoding="utf-8")]
    page = templates.get_template("page.html").render(
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        **_facts(content, confirmed, told),
    )
    write_text_atomic(path, page)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _facts(content: RunContent, confirmed: Sequence[TrialRecord], told: str) -> dict[str, Any]:
    """Give what the template shows."""
    shown = list(confirmed or content.trials)
    front = front_records(shown, content.metric)
    base = find_base(shown)
    palette = colours(choices_of(front, content.sites))
    charts = {
        "front": front_chart(content, confirmed),
        "choices": choices_chart(content, front, palette),
        "hypervolume": hypervolume_chart(content),
        "curves": curves_chart(content, front),
        "costs": costs_chart(content),
    }
    charts = {name: chart for name, chart in charts.items() if chart and chart["data"]}
    if not content.in_state("complete"):
        charts.pop("hypervolume", None)
    return {
        "name": content.run.name,
        "subtitle": _subtitle(content),
        "told": told,
        "metric": content.metric_title,
        "tiles": _tiles(content, front, base),
        "warnings": warnings_of(content, confirmed),
        "rows": _rows(content, front, base),
        "palette": palette,
        "charts": charts,
        # Plain JSON, of which `tojson` escapes what could end the script element; it is never run.
        "data": {"charts": charts, "architectures": _architectures(content)},
        "environment": dict(_flat(content.environment)),
        "options": dict(_flat(content.config)),
    }


def _subtitle(content: RunContent) -> str:
    config = content.config
    space, budget = config.get("space"), config.get("budget")
    data = config.get("data") or "embedded digits"
    parts = [
        Path(str(space)).name if space else None,
        str(data),
        f"budget {budget}" if budget else None,
    ]
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def _tiles(
    content: RunContent, front: Sequence[TrialRecord], base: TrialRecord | None
) -> list[tuple[str, str, str]]:
    """Give the key figures: title, figure, remark."""
    metric = content.metric
    counts = Counter(record.state for record in content.trials).most_common()
    ended = ", ".join(f"{number} {state}" for state, number in counts)
    tiles = [("trials", str(len(content.trials)), ended or "none has ended")]
    tiles.append(("models on the front", str(len(front)), ""))
    if base is not None and base.latency_ms is not None:
        accuracy = base.scores.get(metric)
        remark = "" if accuracy is None else f"{100 * accuracy:.1f}% {content.metric_title}"
        tiles.append(("base network", f"{base.latency_ms:.2f} ms", remark))
    if base is None or metric not in base.scores:
        return tiles
    for title, model in _fastest(front, base, metric):
        gain = 100 * (model.scores[metric] - base.scores[metric])
        speed = f"{1 / model.latency_ratio:.2f}x faster" if model.latency_ratio else "unknown"
        tiles.append((title, speed, f"{gain:+.1f} points"))
    return tiles


# Accuracy lost to the base network, at most.
_LOST = {
    "fastest at least as accurate": 0.0,
    "fastest within one point": 0.01,
    "fastest of all": 1.0,
}


def _fastest(
    front: Sequence[TrialRecord], base: TrialRecord, metric: str
) -> list[tuple[str, TrialRecord]]:
    """Name the fastest models that lose so much accuracy at most, the base network apart, each model once."""
    others = [record for record in front if not record.architecture.is_base]
    found: dict[int, tuple[str, TrialRecord]] = {}
    for title, lost in _LOST.items():
        kept = [r for r in others if r.scores[metric] >= base.scores[metric] - lost]
        for model in kept[:1]:
            found.setdefault(model.trial, (title, model))
    return list(found.values())


def _rows(
    content: RunContent, front: Sequence[TrialRecord], base: TrialRecord | None
) -> list[dict[str, str]]:
    """Give the table of the front, the base network at its place by latency."""
    files = {record.trial: model_file(place, record) for place, record in enumerate(front)}
    records = [*front, *([base] if base and base.trial not in files else [])]
    reference = base.scores.get(content.metric) if base else None
    return [
        _row(content, record, files.get(record.trial), reference)
        for record in sorted(records, key=lambda r: (r.latency_ms is None, r.latency_ms))
    ]


def _row(
    content: RunContent, record: TrialRecord, file: str | None, reference: float | None
) -> dict[str, str]:
    accuracy, std = record.scores.get(content.metric), record.scores.get(f"{content.metric}_std")
    low, high = record.latency_ratio_low, record.latency_ratio_high
    is_base = record.architecture.is_base
    gain = None if accuracy is None or reference is None or is_base else accuracy - reference
    return {
        "model": (file or "base network").removeprefix("pareto/")
        + (" (base)" if file and is_base else ""),
        "is_base": "base" if is_base else "",
        "trial": str(record.trial),
        "latency": _figure(record.latency_ms, ".2f"),
        "ratio": _figure(record.latency_ratio, ".3f"),
        "interval": "" if low is None or high is None or is_base else f"{low:.3f} to {high:.3f}",
        "accuracy": _with_spread(accuracy, std),
        "gain": _figure(gain, "+.2f", 100),
        "replaced": f"{len(record.architecture)} of {len(content.sites)}",
        "params": count_text(record.params),
        "macs": count_text(record.macs),
        "memory": _figure(record.memory_mb, ".1f"),
    }


def _with_spread(accuracy: float | None, std: float | None) -> str:
    spread = "" if std is None else f" \N{PLUS-MINUS SIGN} {100 * std:.2f}"
    return _figure(accuracy, ".2f", 100) + spread


def _figure(value: float | None, form: str, scale: float = 1) -> str:
    return "" if value is None else f"{scale * value:{form}}"


def _architectures(content: RunContent) -> dict[str, Any]:
    """Give each trial's choices by number, short as there may be a thousand trials."""
    records = [r for r in content.trials if content.metric in r.scores]
    choices = choices_of(records, content.sites)
    numbers = {choice: number for number, choice in enumerate(choices)}
    return {
        "sites": content.sites,
        "choices": choices,
        "trials": {
            record.trial: [numbers[str(record.architecture[site])] for site in content.sites]
            for record in records
        },
    }


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Give the facts of a nested mapping, one a line, those that are not known left out."""
    found: list[tuple[str, str]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            found.append((f"{prefix}{key}", text))
    return found
