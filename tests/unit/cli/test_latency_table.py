"""`spnas latency-table` through the command line's entry point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spnas.cli import main

SPACE = """\
schema_version: 1
base: resnet20-cifar
sites:
  - match: "*"
    choices: [regular]
  - match: "layer3.*"
    choices: [regular, {op: ghost, ratio: 0.5}, {op: spconv, ratio: 0.5}]
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return str(path)


def test_every_site_and_choice_has_a_row(space: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["latency-table", "--space", space, "--device", "cpu", "--batch", "2"]
    assert main([*options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    found = {(row["site"], row["choice"]) for row in rows}
    assert ("layer1.0.conv1", "regular") in found
    assert ("layer3.2.conv2", "spconv:0.5") in found
    assert len(found) == len(rows) == 19 + 2 * 6
    regular = [row for row in rows if row["choice"] == "regular"]
    assert all(row["added"] == 0 and row["ratio"] == 1 for row in regular)
    for row in rows:
        assert row["latency_ms"] == pytest.approx(row["ratio"] * row["plain_ms"])

    # The same measurements, from the cache.
    assert main(options) == 0
    shown = capsys.readouterr().out
    (line,) = (line for line in shown.splitlines() if line.startswith("layer3.0.conv2"))
    ratio = next(
        row["ratio"]
        for row in rows
        if (row["site"], row["choice"]) == ("layer3.0.conv2", "spconv:0.5")
    )
    assert line.split()[1] == "5"
    assert line.split()[-1] == f"{ratio:.2f}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--space", "nowhere"], "nowhere"),
        (["--space", "yolov8n", "--imgsz", "65"], "expected a multiple of 32 for yolov8n, got 65"),
        (["--space", "yolov8n", "--batch", "0"], "--batch: expected a number above 0, got 0"),
        (["--space", "yolov8n", "--device", "cpu", "--runtime", "x"], "unknown runtime 'x'"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["latency-table", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
