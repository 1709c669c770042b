"""Searches of instant trials in processes of their own, to be interrupted and killed; and what must hold after that."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import pandas as pd
import psutil

from spnas.runs import RunDirectory, TrialRecord, read_records
from spnas.search.storage import record_from_json

INSTANT = Path(__file__).parent
SPACE = """\
schema_version: 1
base: instant
sites:
  - match: "*"
    choices: [regular, {op: ghost, ratio: [0.5, 0.25]}, {op: spconv, ratio: [0.5, 0.25]}]
"""
OPTIONS = """\
runtime: instant
inherit: weights
table_share: 0
base_epochs: 1
epochs: 2
rungs: [1]
max_latency: 9x
"""
_PATIENCE_S = 500


def prepare(folder: Path) -> None:
    """Write what a search of instant trials needs: a space, options, and a data set without faults."""
    (folder / "instant.yaml").write_text(SPACE)
    (folder / "config.yaml").write_text(OPTIONS)
    for name in ("data", "tmp"):
        (folder / name).mkdir()


class Sitting:
    """A `spnas search` under way, read line by line.

    Args:
        folder: Where `prepare` has written.
        args: Arguments of `spnas search`.
    """

    def __init__(self, folder: Path, *args: str | Path) -> None:
        paths = [str(INSTANT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "SPNAS_SPY": str(folder / "spied"),
            # Locks of its own, so that no other search on the machine makes its trials wait; Ray needs a short path.
            "TMPDIR": str(folder / "tmp"),
            "RAY_TMPDIR": "/tmp",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spnas", "search", *map(str, args)],
            cwd=folder,
            env=environment,
            # A shell has what it starts in the background ignore Ctrl-C, and Python leaves that as it is.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str) -> None:
        """Read until a line holds the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was not said:\n{self.output}")

    def end(self) -> int:
        """Read to the end; give the exit code, negative for a signal."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout
        return self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send the driver a signal."""
        self.process.send_signal(number)

    def children(self, name: str) -> list[psutil.Process]:
        """Find processes that Ray has started for it, by name."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in found if name in child.name()]

    def listening(self) -> set[tuple[str, str]]:
        """Give name and address of every process of it that waits for connections."""
        found = set()
        for process in (psutil.Process(self.process.pid), *self.children("")):
            with suppress(psutil.Error):
                found |= {
                    (process.name(), connection.laddr.ip)
                    for connection in process.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN
                }
        return found

    @property
    def output(self) -> str:
        """All that was said so far."""
        return "".join(self.lines)


@contextmanager
def sitting(folder: Path, *args: str | Path) -> Iterator[Sitting]:
    """Have a search under way; it is killed where the block leaves it running, or where it takes minutes."""
    under_way = Sitting(folder, *args)
    watchdog = threading.Timer(_PATIENCE_S, under_way.process.kill)
    watchdog.start()
    try:
        yield under_way
    finally:
        watchdog.cancel()
        under_way.process.kill()
        under_way.end()
        assert under_way.process.stdout is not None
        under_way.process.stdout.close()


def kept(run: RunDirectory) -> list[TrialRecord]:
    """Give the records in the study's file, in order of completion, read as a stranger would."""
    if not run.study.exists():
        return []
    try:
        trials = optuna.load_study(study_name="spnas", storage=f"sqlite:///{run.study}").trials
    except (KeyError, sqlite3.Error):  # killed before there was a study
        return []
    ended = [trial for trial in trials if "record" in trial.user_attrs]
    ended.sort(key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete))
    return [record_from_json(trial.user_attrs["record"]) for trial in ended]


def spent(run: RunDirectory) -> float:
    """Give the device-seconds that the study has charged."""
    study = optuna.load_study(study_name="spnas", storage=f"sqlite:///{run.study}")
    return float(study.user_attrs.get("spent_device_s", 0.0))


def check_kept(run: RunDirectory, before: list[TrialRecord]) -> list[TrialRecord]:
    """Assert that what was known before is known still, and what the table says; give what is known now."""
    records = kept(run)
    assert records[: len(before)] == before
    assert len({record.trial for record in records}) == len(records)
    assert len({record.architecture for record in records}) == len(records)
    table = read_records(run.trials) if run.trials.exists() else []
    # Killed between keeping a record and writing the table, the last one is missing there.
    assert len(records) - len(table) in (0, 1)
    figures = [(r.trial, r.state, r.architecture, r.scores, r.latency_ms) for r in table]
    assert figures == [
        (r.trial, r.state, r.architecture, r.scores, r.latency_ms) for r in records[: len(table)]
    ]
    return records


def check_front(run: RunDirectory, records: list[TrialRecord]) -> None:
    """Assert that table and front are those that the records imply."""
    assert [r.trial for r in read_records(run.trials)] == [r.trial for r in records]
    complete = [(r.scores["top1"], -r.latency_ms, r) for r in records if r.state == "complete"]  # type: ignore[operator]
    front = {
        r.architecture.id
        for accuracy, speed, r in complete
        if not any(
            a >= accuracy and s >= speed and (a, s) != (accuracy, speed) for a, s, _ in complete
        )
    }
    written = pd.read_csv(run.pareto_csv, dtype={"arch_id": str})
    assert set(written["arch_id"]) == front
    assert all((run.path / file).is_file() for file in written["file"])
