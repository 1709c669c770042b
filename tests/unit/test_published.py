"""README says what the files of the published runs say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_readme_agrees_with_the_published_runs(repo_root: Path) -> None:
    script = repo_root / "benchmarks" / "published.py"
    command = [sys.executable, str(script), "readme", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
