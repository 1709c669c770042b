"""`spnas spaces` and `spnas validate`."""

import json
from pathlib import Path

import pytest

from spnas.cli import main
from spnas.spaces import list_spaces

SPACE = """\
schema_version: 1
base: resnet20-cifar
sites:
  - {match: "*", choices: [regular, "ghost:0.5"]}
"""


def test_spaces_lists_every_space_with_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["yolov8n"]["sites"] == 39
    assert rows["yolov8n"]["log10_size"] == pytest.approx(29.57, abs=0.005)
    assert rows["resnet50"]["choices"][0] == "regular"
    assert main(["spaces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.split()[:1] == [name] for name in rows for line in lines) == len(rows)
    assert list(rows) == list_spaces()


def test_validate_says_ok_of_good_files_and_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(SPACE)
    (tmp_path / "b.yml").write_text(SPACE)
    (tmp_path / "notes.txt").write_text("no space")
    assert main(["validate", str(tmp_path), str(tmp_path / "a.yaml")]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", f"{tmp_path / name}:"] for name in ("a.yaml", "b.yml", "a.yaml")
    ]
    assert err == ""


def test_validate_tells_the_mistakes_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(SPACE.replace("ghost", "goast").replace("1\n", "9\n"))
    (tmp_path / "b.yaml").write_text(SPACE)
    (tmp_path / "c.yaml").write_text(SPACE.replace("*", "nothing"))
    (tmp_path / "empty").mkdir()
    assert main(["validate", str(tmp_path), str(tmp_path / "empty")]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"ok {tmp_path / 'b.yaml'}")
    starts = [line.split(": ")[2:4] for line in err.splitlines()]
    assert starts[:3] == [
        [f"{tmp_path / 'a.yaml'}:1", "schema_version"],
        [f"{tmp_path / 'a.yaml'}:4", "sites[0].choices[1]"],
        [f"{tmp_path / 'c.yaml'}:4", "sites[0].match"],
    ]
    assert "found none" in err.splitlines()[3]
    assert len(err.splitlines()) == 4


def test_validate_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "x.yaml")]) == 2
    assert "x.yaml: no such file" in capsys.readouterr().err
