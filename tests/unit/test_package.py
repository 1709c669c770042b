from __future__ import annotations

import subprocess
import sys
from importlib import metadata

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
