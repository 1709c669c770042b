from pathlib import Path
from typing import Any

import pytest
import yaml

from spnas.architecture import Architecture
from spnas.runs import (
    RunDirectory,
    TrialRecord,
    front_records,
    front_rows,
    plot_front,
    read_model_yaml,
    read_trials,
    write_front,
)
from spnas.runs import front as front_module

from .conftest import SCORES, SITES

CONDITIONS = {"device": "cpu", "runtime": "torch", "batch": 1, "imgsz": 160}


def document(record: TrialRecord) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "backbone": [[-1, 1, "Conv", [64, 3, 2]], [[-1, 6], 1, "Concat", [1]]],
        "spnas": {"base": "yolov8n", "sites": record.architecture.to_yaml()},
    }


def write(run: RunDirectory, records: list[TrialRecord]) -> list[Path]:
    return write_front(
        run,
        records,
        document,
        metric="map50_95",
        score_columns=SCORES,
        sites=SITES,
        conditions=CONDITIONS,
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, "run")


def test_only_complete_trials_are_on_the_front(records: list[TrialRecord]) -> None:
    front = front_records(records, "map50_95")
    assert {record.state for record in front} == {"complete"}
    assert records[3] not in front
    latencies = [record.latency_ms for record in front]
    assert latencies == sorted(latencies)
    assert len(front) >= 3


def test_every_model_has_its_file_and_its_figures(
    run: RunDirectory, records: list[TrialRecord]
) -> None:
    paths = write(run, records)
    table = read_trials(run.pareto_csv)
    assert [run.path / file for file in table["file"]] == paths
    for place, (path, record) in enumerate(
        zip(paths, front_records(records, "map50_95"), strict=True)
    ):
        content = read_model_yaml(path)
        assert path.name == f"{place:02d}-{record.architecture.id}.yaml"
        assert Architecture.from_yaml(content["spnas"]["sites"]) == record.architecture
        assert content["metrics"]["latency_ms"] == record.latency_ms
        assert content["metrics"]["map50_95"] == record.scores["map50_95"]
        assert content["metrics"].items() >= CONDITIONS.items()
        assert content["provenance"]["trial"] == record.trial
        assert content["provenance"]["run"] == "run"
        assert "torch" in content["provenance"]["versions"]
        assert content["backbone"] == document(record)["backbone"]
    assert read_model_yaml(paths[-1])["metrics"]["map50_95_std"] == 0.004


def test_writing_again_changes_nothing(run: RunDirectory, records: list[TrialRecord]) -> None:
    before = {path: path.read_bytes() for path in [*write(run, records), run.pareto_csv]}
    write(run, records)
    assert {path: path.read_bytes() for path in before} == before


def test_a_new_front_takes_the_place_of_the_old(
    run: RunDirectory, records: list[TrialRecord]
) -> None:
    old = write(run, records[:10])
    note = run.pareto_dir / "my-notes.yaml"
    note.write_text("kept")
    new = write(run, records)
    assert set(run.pareto_dir.iterdir()) == {*new, note}
    assert set(old) != set(new)


@pytest.mark.parametrize("same_names", [False, True])
@pytest.mark.parametrize("writes", range(6))
def test_killed_anywhere_the_table_names_files_of_one_front(
    run: RunDirectory,
    records: list[TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
    same_names: bool,
) -> None:
    write(run, records[:10])
    later = records[:10] if same_names else records
    for record in later:
        record.latency_std_ms = 7.0  # every model yaml of the new front says so
    write_text = front_module.write_text_atomic
    left = iter(range(writes))

    def killed_after(path: Path, text: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(front_module, "write_text_atomic", killed_after)
    try:
        write(run, later)
    except KeyboardInterrupt:
        if not run.pareto_csv.exists():
            return
    table = read_trials(run.pareto_csv)
    named = [read_model_yaml(run.path / file)["metrics"] for file in table["file"]]
    assert [m["latency_std_ms"] for m in named] == table["latency_std_ms"].tolist()
    assert [m["latency_ms"] for m in named] == table["latency_ms"].tolist()


def test_the_base_stands_in_the_rows_on_the_front_or_not(records: list[TrialRecord]) -> None:
    rows = front_rows(records, "map50_95")
    base = next(row for row in rows if row.is_base)
    assert base.file is not None
    assert base.accuracy_difference == 0
    records[1].scores["map50_95"], records[1].latency_ms = 0.5, 20.0
    rows = front_rows(records, "map50_95")
    base = next(row for row in rows if row.is_base)
    assert base.file is None
    assert rows[0].accuracy_difference == pytest.approx(0.5 - 0.41)
    assert [row.latency_ms for row in rows] == sorted(row.latency_ms or 0 for row in rows)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_the_picture_is_a_png_however_few_trials(
    tmp_path: Path, records: list[TrialRecord], count: int
) -> None:
    plot_front(records[:count], tmp_path / "pareto.png", "map50_95")
    assert (tmp_path / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_base_above_the_limits_is_drawn(tmp_path: Path, records: list[TrialRecord]) -> None:
    pictures = []
    for scores in (records[0].scores, {}):
        records[0].state, records[0].scores = "infeasible", scores
        plot_front(records, tmp_path / "pareto.png", "map50_95")
        pictures.append((tmp_path / "pareto.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_the_yaml_is_plain(run: RunDirectory, records: list[TrialRecord]) -> None:
    text = write(run, records)[0].read_text()
    assert "- [-1, 1, Conv, [64, 3, 2]]\n" in text
    assert "{op: " in text
    assert "&id" not in text
    assert yaml.safe_load(text)["schema_version"] == 1
