from pathlib import Path

import pytest

from spnas.errors import RunError
from spnas.runs import RunDirectory


def test_create_makes_the_folders_and_open_finds_the_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "results", "first.run-1")
    assert run.pareto_dir.is_dir()
    assert run.weights_dir.is_dir()
    run.config.write_text("space: yolov8n\n")
    assert RunDirectory.open(run.path) == run
    assert RunDirectory.open(str(run.path)).name == "first.run-1"


def test_a_run_that_exists_is_never_written_into(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "twice")
    with pytest.raises(RunError, match=r"spnas search --resume .*twice"):
        RunDirectory.create(tmp_path, "twice")
    assert run.path.is_dir()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "/tmp", "a b", "ä", "a\n"]
)
def test_names_that_are_no_plain_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="expected letters, digits"):
        RunDirectory.create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_open_tells_what_it_expects(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected config\.yaml"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        RunDirectory.open(tmp_path / "nowhere")


def test_a_root_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.run"):
        RunDirectory.create(tmp_path / "file", "run")


def test_a_run_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "held")
    with (
        run.hold(),
        pytest.raises(RunError, match="under way in another process"),
        RunDirectory(run.path).hold(),
    ):
        pass
    with run.hold():
        pass
