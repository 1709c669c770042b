"""`spnas dashboard`: what is missing is told; the server itself is Optuna's."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from spnas.cli import main
from spnas.runs import RunDirectory
from spnas.search.storage import open_storage


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path, "run")
    made.config.write_text("space: x\n")
    return made


def test_a_run_without_a_study_and_a_missing_package_get_exit_code_2(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["dashboard", str(run.path)]) == 2
    assert "study.db: no such file" in capsys.readouterr().err
    run.study.touch()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert main(["dashboard", str(run.path)]) == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'spnas[dashboard]'")


def test_it_serves_the_study_on_this_machine_only(run: RunDirectory) -> None:
    pytest.importorskip("optuna_dashboard", reason="needs spnas[dashboard]")
    storage = open_storage(run.study)
    optuna.create_study(storage=storage, study_name="spnas", directions=["maximize", "minimize"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "spnas", "dashboard", str(run.path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert f"127.0.0.1:{port}" in process.stdout.readline()
            for _ in range(100):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies") as answer:
                        assert b"spnas" in answer.read()
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            else:
                pytest.fail("nobody answers")
            with pytest.raises(OSError, match="refused"):
                urllib.request.urlopen(f"http://127.0.0.2:{port}/", timeout=5)
        finally:
            process.terminate()
