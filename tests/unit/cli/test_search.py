"""`spnas search` through the command line's entry point: what ends before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from spnas.cli import main


def test_a_runtime_that_cannot_be_used_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--space", "resnet20-cifar", "--budget", "2trials", "--device", "cpu"]
    assert main(["search", *options, "--results", str(tmp_path), "--runtime", "tensorrt"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("spnas: error: runtime tensorrt does not run on cpu, expected")
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
