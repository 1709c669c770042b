"""Searches that end before they are done: by Ctrl-C, and by a budget that is too small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from spnas.runs import RunDirectory
from spnas.search.config import read_config
from spnas.search.plan import make_plan
from spnas.search.spending import spent_so_far
from spnas.search.study import SearchStudy

from .conftest import run_cli, small_classification_data

pytestmark = pytest.mark.e2e


def test_interrupting_writes_the_front_so_far(shared_data: Path, tmp_path: Path) -> None:
    small_classification_data(shared_data / "sign_digits", tmp_path / "signs")
    (tmp_path / "config.yaml").write_text(
        "base_epochs: 1\nepochs: 1\nrungs: []\ntable_share: 0\ninherit: weights\n"
    )
    command = [
        *(sys.executable, "-m", "spnas", "search", "--space", "resnet20-cifar"),
        *("--data", "signs", "--budget", "100trials"),
        *("--name", "cut", "--config", "config.yaml"),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(300, process.kill)
        watchdog.start()
        output = []
        for line in process.stdout:
            output.append(line)
            if "trial 0 complete" in line:  # the base: whatever the others are, it is complete
                process.send_signal(signal.SIGTERM)  # which is taken for Ctrl-C
        watchdog.cancel()
    assert process.returncode == 0, "".join(output)
    run = tmp_path / "results" / "cut"
    front = pd.read_csv(run / "pareto.csv")
    assert len(front) >= 1
    log = (run / "log.txt").read_text()
    assert "interrupted: ending what runs; Ctrl-C again leaves at once" in log
    assert "ended: interrupted: `spnas search --resume results/cut` goes on" in log


def test_a_budget_too_small_for_the_base_is_told(shared_data: Path, tmp_path: Path) -> None:
    small_classification_data(shared_data / "sign_digits", tmp_path / "signs")
    done = run_cli(
        *("search", "--space", "resnet20-cifar", "--data", "signs"),
        *("--budget", "1s", "--name", "poor"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "spnas: error: budget '1s' ends before the base network is trained"
    )
    assert len(done.stderr.splitlines()) == 1
    # On a slow machine the budget ends before the first epoch does.
    assert "base network resnet20-cifar: 4 epochs" in done.stdout
    run = RunDirectory.open(tmp_path / "results" / "poor")
    plan = make_plan(read_config(run.config)[0])
    study = SearchStudy(run.study, plan.space, "top1", seed=0)
    assert (
        spent_so_far(study) > 2
    )  # what was spent is charged all the same: two cores, a second and more
