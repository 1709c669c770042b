"""report.html: every state of a run gives one, and nothing in a run can act in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects
import pytest
import yaml

from spnas.architecture import Architecture
from spnas.cli import main
from spnas.runs import RunDirectory, TrialRecord, hypervolume, read_records, write_trials
from spnas.runs.content import cost_breakdown, read_run
from spnas.runs.course import write_costs
from spnas.runs.report.charts import hypervolume_chart
from spnas.runs.report.palette import colours
from spnas.search.report import report_run

from .conftest import SCORES, SITES
from .made_up import make_run

_EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its texts, the contents of its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.scripts: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._in = [""]
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append("")
        self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._in.append("")

    def handle_data(self, data: str) -> None:
        if self._in[-1] == "script":
            self.scripts[-1] += data
        elif self._in[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.scripts[0])
        return loaded


def test_plotly_takes_the_charts(tmp_path: Path) -> None:
    charts = Page(report_run(make_run(tmp_path, 40))).data["charts"]
    assert set(charts) == {"front", "choices", "hypervolume", "curves", "costs"}
    for chart in charts.values():
        coloured = re.sub(r'"--[a-z-]+"', '"black"', json.dumps(chart))  # as the page does
        plotly.graph_objects.Figure(json.loads(coloured))  # refuses what it does not know


def test_nothing_of_a_run_becomes_markup_or_a_script(tmp_path: Path) -> None:
    run = make_run(tmp_path, 40, error=_EVIL)
    run.config.write_text(yaml.safe_dump({"space": _EVIL, "data": _EVIL, _EVIL: _EVIL}))
    run.environment.write_text(json.dumps({"cpu": _EVIL, _EVIL: [_EVIL]}))
    for path in (run.trials, run.confirmed):  # a site, a warning
        text = path.read_text().replace("model.0,", "<b onclick=alert(3)>,", 1)
        path.write_text(text.replace("the base got 30% slower", "<img src=x onerror=alert(2)>"))
    page = Page(report_run(run))
    assert len(page.scripts) == 3  # the data, plotly.js, the page's own
    assert "img" not in page.elements
    assert not {name for name in page.attributes if name.startswith("on")}
    assert _EVIL in page.text
    shown = page.data["charts"]["front"]["data"][0]["hovertext"]
    sites = page.data["charts"]["choices"]["data"][0]["y"]
    assert "&lt;b onclick=alert(3)&gt;" in sites
    assert not any("<img" in text or "<script" in text for text in shown)


def test_the_front_in_the_page_is_that_of_the_re_evaluations(tmp_path: Path) -> None:
    page = Page(report_run(make_run(tmp_path, 40)))
    front = {trace["name"]: trace for trace in page.data["charts"]["front"]["data"]}
    again = read_records(RunDirectory.open(tmp_path / "run").confirmed)
    trial = front["front (4 epochs)"]["customdata"][-1]
    means = [record.scores["map50_95"] for record in again if record.trial == trial]
    assert front["front (4 epochs)"]["y"][-1] == pytest.approx(100 * sum(means) / len(means))
    assert all(bar > 0 for bar in front["front (4 epochs)"]["error_y"]["array"])
    assert "The front is confirmed" in page.text
    assert "not confirmed" not in page.text


def test_the_hypervolume_is_that_of_all_trials_so_far(tmp_path: Path) -> None:
    content = read_run(make_run(tmp_path, 40))
    (trace,) = hypervolume_chart(content)["data"]
    for number in (1, 10, 40):
        so_far = [r for r in content.trials[:number] if r.state == "complete"]
        accuracy = [r.scores["map50_95"] for r in so_far]
        ratios = [r.latency_ratio for r in so_far]
        assert trace["y"][number - 1] == pytest.approx(hypervolume(accuracy, ratios, (0.0, 1.25)))
    trials = sum(r.device_s or 0 for r in content.trials)
    assert trace["x"][-1] == pytest.approx((trials + 300) / 60)  # the base's training comes first


def test_the_costs_add_up_to_what_was_spent(tmp_path: Path) -> None:
    run = make_run(tmp_path, 40)
    costs = cost_breakdown(read_run(run))
    assert sum(costs.values()) == pytest.approx(sum(read_run(run).costs.values()))
    assert costs["trials: complete"] > costs["trials: failed"] > 0
    run.costs.unlink()  # killed before its end
    assert set(cost_breakdown(read_run(run))) == {
        key for key in costs if key.startswith("trials: ")
    } - {"trials: waiting"} | {"confirmation"}
    write_costs(run.costs, {"base network": 0.0})
    assert cost_breakdown(read_run(run)) == {}


def test_choices_of_one_operator_share_a_hue_and_no_two_a_colour() -> None:
    found = colours(["regular", "ghost:0.5", "ghost:0.25", "spconv:0.5"])
    hue = {choice: colour.rpartition(",")[0] for choice, colour in found.items()}
    assert hue["ghost:0.5"] == hue["ghost:0.25"] != hue["spconv:0.5"]
    assert len(set(found.values())) == 4


def _write(run: RunDirectory, records: list[TrialRecord]) -> None:
    write_trials(run.trials, records, SCORES, SITES)


def test_a_run_in_any_state_has_a_report(
    tmp_path: Path, records: list[TrialRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory.create(tmp_path, "run")
    run.config.write_text("space: yolov8n\n")
    assert main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.report)
    assert "No trial has ended yet." in Page(run.report).text

    _write(run, [])
    assert "No trial has ended yet." in Page(report_run(run)).text

    failed = TrialRecord(0, "failed", Architecture(), origin="base", error="out of memory")
    _write(run, [failed, replace(failed, trial=1)])
    text = Page(report_run(run)).text
    assert "No trial is complete" in text
    assert "Failed: 2 trials: out of memory" in text

    slow = replace(records[0], state="infeasible", error="latency 33.9 ms, allowed 30 ms")
    _write(run, [slow, *records[1:]])
    text = Page(report_run(run)).text
    assert "The base network exceeds the limits: latency 33.9 ms, allowed 30 ms." in text
    assert "The front is not confirmed" in text
    assert "Learning curves" not in text

    _write(run, [failed, *records[1:]])
    assert "The base network's own trial has no accuracy" in Page(report_run(run)).text


def test_a_run_of_an_earlier_version_has_a_report(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    run = RunDirectory.create(tmp_path, "run")
    _write(run, records)
    table = [line.split(",") for line in run.trials.read_text().splitlines()]
    later = ("latency_ratio_low", "latency_ratio_high", "latency_warning", "memory_mb")
    dropped = {table[0].index(name) for name in later}
    lines = [
        ",".join(c for i, c in enumerate(row) if i not in dropped)
        for row in table
        if len(row) == len(table[0])
    ]
    run.trials.write_text("\n".join(lines) + "\n")
    page = Page(report_run(run))
    assert page.data["charts"]["front"]["data"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("environment.json", "{"),
        ("config.yaml", "- 1"),
        ("costs.csv", "a,b\n1,2\n"),
        ("rungs.csv", ""),
    ],
)
def test_a_spoiled_file_is_told_of(
    tmp_path: Path, file: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, 12)
    (run.path / file).write_text(content)
    assert main(["report", str(run.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert file in line


def test_where_it_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, 12)
    assert main(["report", str(run.path), "--output", str(tmp_path / "none" / "r.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
