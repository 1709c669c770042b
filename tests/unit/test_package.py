from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import spnas


@pytest.mark.parametrize("statement", ["import spnas", "import spnas.runs", "import spnas.cli"])
def test_importing_stays_light(statement: str) -> None:
    code = f"{statement}; import sys; print(*(m for m in ('torch', 'ultralytics', 'ray') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_is_there() -> None:
    for name in spnas.__all__:
        assert getattr(spnas, name) is not None
    assert spnas.YOLO.__module__ == "spnas.ultralytics"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = spnas.nothing


def test_version_is_that_of_the_package() -> None:
    assert spnas.__version__ == metadata.version("spnas")


def test_ultralytics_asks_nobody_and_reports_nothing(tmp_path: Path, repo_root: Path) -> None:
    """With a user's environment, not that of these tests; `sitecustomize` in tests/instant notes who is asked."""
    code = (
        "import spnas.ultralytics\n"
        "from ultralytics.utils import ONLINE, events\n"
        "print(ONLINE, events.events.enabled)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_")}
    paths = [str(repo_root / "tests" / "instant"), os.environ.get("PYTHONPATH", "")]
    added = {"PYTHONPATH": os.pathsep.join(paths), "SPNAS_SPY": str(tmp_path / "spied")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **added, "YOLO_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False False"
    assert not (tmp_path / "spied").exists()
