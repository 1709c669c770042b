"""The package of docs/plugins.md: installed in a folder of its own, found by the command line and by workers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
from spnas.search.worker import evaluate_trial
try:
    evaluate_trial({"trial": 0, "architecture": "", "timeout_s": 60}, None)
except Exception:
    pass  # there is no run; what matters is what the worker has imported
from spnas.operators import operator_names
print(operator_names())
"""
# The documented operator against what every operator promises.
CONTRACT = """
import copy, torch, lowrank
from torch import nn
from spnas.architecture import Choice, ConvSite
from spnas.operators import Host, build_operator
torch.manual_seed(0)
conv, bn = nn.Conv2d(16, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12)
operator = build_operator(
    Choice.parse("lowrank:0.75"), ConvSite("s", 16, 12, 3, 2), Host(nn.ReLU())
)
fresh = copy.deepcopy(operator)
operator.inherit(conv, bn)
x = torch.randn(2, 16, 9, 7)
for module in (conv, bn, operator, fresh):
    module.eval()
plain = torch.relu(bn(conv(x)))
torch.testing.assert_close(operator.deploy()(x), operator(x))
print((operator(x) - plain).norm() / plain.norm() < 0.5 * (fresh(x) - plain).norm() / plain.norm())
"""


@pytest.fixture
def package(tmp_path: Path, repo_root: Path) -> Path:
    """The documented files, with the metadata that an installer makes of them."""
    text = (repo_root / "docs" / "plugins.md").read_text()
    blocks = dict(re.findall(r"```(python|toml|yaml)\n(.*?)```", text, re.DOTALL))
    (tmp_path / "lowrank.py").write_text(blocks["python"])
    (tmp_path / "space.yaml").write_text(blocks["yaml"])
    entries = re.search(r"spnas\.plugins\"\]\n(\w+) = \"(\w+)\"", blocks["toml"])
    assert entries is not None
    info = tmp_path / "spnas_lowrank-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spnas-lowrank\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[spnas.plugins]\n{entries[1]} = {entries[2]}\n")
    return tmp_path


def run_python(*args: str, path: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_documented_operator_keeps_an_operators_promises(package: Path) -> None:
    done = run_python("-c", CONTRACT, path=package)
    assert done.stdout == "tensor(True)\n", done.stderr


def test_the_documented_space_names_it(package: Path) -> None:
    done = run_python("-m", "spnas", "validate", "space.yaml", path=package)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok space.yaml: 19 sites, 10^8.6")


def test_it_is_profiled(package: Path) -> None:
    options = ("--space", "space.yaml", "--uniform", "lowrank:0.25", "--batch", "1", "--json")
    done = run_python("-m", "spnas", "profile", *options, path=package)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["replaced_sites"] == 18


def test_a_worker_has_the_plugins(package: Path) -> None:
    done = run_python("-c", WORKER, path=package)
    assert "'lowrank'" in done.stdout, done.stderr


def test_a_plugin_that_cannot_be_loaded_is_named(package: Path) -> None:
    (package / "lowrank.py").write_text("import no_such_module")
    done = run_python("-m", "spnas", "validate", "space.yaml", path=package)
    assert done.returncode == 2
    assert done.stderr == (
        "spnas: error: plugin lowrank (lowrank): cannot be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module'\n"
    )
