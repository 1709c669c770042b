"""Packages of others: installed for real in a folder of their own, found by the command line and by workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPERATOR = """
from spnas.operators import register_operator
from spnas.operators.regular import Regular

@register_operator
class Twin(Regular):
    name = "twin"
"""
SPACE = """
schema_version: 1
base: resnet20-cifar
sites:
  - match: "*"
    choices: [regular, twin]
"""
WORKER = """
import ray
from spnas.search.worker import evaluate_trial
try:
    evaluate_trial({"trial": 0, "architecture": ""}, None, 60)
except Exception:
    pass  # there is no run; what matters is what the worker has imported
from spnas.operators import operator_names
print(operator_names())
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A distribution with one module and an entry point."""
    info = tmp_path / "spnas_twin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spnas-twin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[spnas.plugins]\ntwin = spnas_twin\n")
    (tmp_path / "spnas_twin.py").write_text(OPERATOR)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def run_python(*args: str, path: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_space_names_an_operator_of_a_plugin(package: Path) -> None:
    done = run_python("-m", "spnas", "validate", "space.yaml", path=package)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok space.yaml: 19 sites, 10^5.7")


def test_a_worker_has_the_plugins(package: Path) -> None:
    done = run_python("-c", WORKER, path=package)
    assert "'twin'" in done.stdout, done.stderr


def test_a_plugin_that_cannot_be_loaded_is_named(package: Path) -> None:
    (package / "spnas_twin.py").write_text("import no_such_module")
    done = run_python("-m", "spnas", "validate", "space.yaml", path=package)
    assert done.returncode == 2
    assert done.stderr == (
        "spnas: error: plugin twin (spnas_twin): cannot be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module'\n"
    )
