"""One run through everything that can end a sitting: each time what it had is kept, and the next one goes on."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from spnas.runs import RunDirectory, TrialRecord

pytestmark = pytest.mark.e2e

HANGS_S = 10
LOOPBACK = ipaddress.ip_address("127.0.0.1")
# What goes wrong with which of the first trials, the uniform ones; three input channels are too few for the last.
FAULTS = {
    "conv1=ghost:0.5 conv2=ghost:0.5 conv3=ghost:0.5": "raise",
    "conv1=ghost:0.25 conv2=ghost:0.25 conv3=ghost:0.25": "nan",
    "conv1=spconv:0.5 conv2=spconv:0.5 conv3=spconv:0.5": "killed",
    "conv2=spconv:0.25 conv3=spconv:0.25": "once hang",
}


def load(name: str) -> ModuleType:
    """Import a module of tests/instant, which is no package."""
    file = Path(__file__).parents[1] / "instant" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sittings = load("sittings")
sitting, check_kept = sittings.sitting, sittings.check_kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which instant trials fail as FAULTS says."""
    folder = tmp_path_factory.mktemp("crashes")
    sittings.prepare(folder)
    (folder / "data" / "pace").write_text("0.05")
    for architecture, fault in FAULTS.items():
        (folder / "data" / architecture).write_text(fault)
    return folder


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A folder for the run."""
    with tempfile.TemporaryDirectory(prefix="spnas-disk-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def run(disk: Path) -> RunDirectory:
    return RunDirectory(disk / "run")


@pytest.fixture(scope="module")
def known() -> list[TrialRecord]:
    """The records that the sittings before left."""
    return []


def own_form(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Give an address, one of IPv4 that is written as one of IPv6 in its own form."""
    address = ipaddress.ip_address(ip)
    return getattr(address, "ipv4_mapped", None) or address


def note(run: RunDirectory, known: list[TrialRecord]) -> list[TrialRecord]:
    """Assert that nothing was lost; remember what there is now."""
    known[:] = check_kept(run, known)
    return known


def test_a_trial_that_goes_wrong_is_told_and_the_search_goes_on(
    folder: Path, run: RunDirectory, known: list[TrialRecord]
) -> None:
    """It raises, its loss is not finite, its worker is killed twice, it hangs once; then the driver is killed."""
    with sitting(
        folder,
        *("--space", "instant.yaml", "--data", "data", "--config", "config.yaml"),
        *(
            "--budget",
            "1000trials",
            "--confirm-share",
            "0",
            "--results",
            run.path.parent,
            "--name",
            "run",
        ),
        *("--trial-timeout-s", str(HANGS_S)),
    ) as search:
        for trial in (3, 4):
            search.wait_for(
                f"trial {trial}: the worker died or did not answer within {HANGS_S} s; "
            )
        search.wait_for("trial 4 ")
        listening = search.listening()
        started = [one for one in search.children("") if not one.name().endswith("Agent")]
        time.sleep(random.uniform(0, 0.5))
        search.send(signal.SIGKILL)
        assert search.end() == -signal.SIGKILL
    # Ray and the workers go with it; two small agents of Ray's notice after a minute.
    assert psutil.wait_procs(started, timeout=50)[1] == []
    names = {name for name, _ in listening}
    assert {"raylet", "gcs_server"} < names
    assert {own_form(ip) for _, ip in listening} == {LOOPBACK}
    states = {r.trial: (r.state, r.error) for r in note(run, known)}
    assert states[0] == ("complete", None)
    assert states[1] == ("failed", "RuntimeError: a fault that was asked for")
    assert states[2][0] == "failed"
    assert states[2][1].startswith("TrainingError: the loss is nan")
    assert states[3] == (
        "failed",
        f"twice: the worker died or did not answer within {HANGS_S} s",
    )
    assert states[4][0] in ("complete", "stopped")


def test_a_second_search_is_refused_and_two_interrupts_leave_at_once(
    folder: Path, run: RunDirectory, known: list[TrialRecord]
) -> None:
    # The space has 125 architectures: they must not all be evaluated while the second search starts.
    (folder / "data" / "pace").write_text("1")
    with sitting(folder, "--resume", run.path) as search:
        search.wait_for("trial ")
        second = subprocess.run(
            [sys.executable, "-m", "spnas", "search", "--resume", str(run.path)],
            env={
                **os.environ,
                "PYTHONPATH": f"{sittings.INSTANT}:{os.environ.get('PYTHONPATH', '')}",
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert second.stderr == f"spnas: error: run {run.path} is under way in another process\n"
        for _ in range(5):  # those that come while it waits for Ray are taken for one
            search.send(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                search.process.wait(1.2)
                break
        assert search.end() in (130, -signal.SIGINT)  # the latter where one more came while it left
    assert len(note(run, known)) > 5


def test_the_end_of_ray_is_told(folder: Path, run: RunDirectory, known: list[TrialRecord]) -> None:
    before = len(known)
    with sitting(folder, "--resume", run.path) as search:
        search.wait_for("trial ")
        (raylet,) = search.children("raylet")
        raylet.kill()
        assert search.end() == 1
        assert "spnas: error: Ray's own process has ended" in search.output
        assert "Traceback" not in search.output
    assert len(note(run, known)) > before


def test_nobody_else_was_asked_for_anything(folder: Path) -> None:
    """No process of all these sittings tried to reach another machine, or to look one up.

    But for the one of Ray's that asks which cloud this is; see docs/security.md.
    """
    spied = folder / "spied"
    asked = spied.read_text().splitlines() if spied.exists() else []
    clouds = ("169.254.169.254", "metadata.google.internal")
    assert not [line for line in asked if not any(f"'{cloud}'" in line for cloud in clouds)]
