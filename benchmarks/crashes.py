"""Does a search keep what it has when its driver is killed, over and over, at random moments?

`python benchmarks/crashes.py --lives 20` starts a search of instant trials (tests/instant), kills it by SIGKILL after a
random time, resumes it, and so on; at last one sitting comes to its end. After each kill everything that was known must
be there still, in the study and in trials.csv. Prints a line for each life; ends with an error where anything was lost.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "instant"))

import sittings

from spnas.runs import RunDirectory, TrialRecord

_BEGIN = (
    *("--space", "instant.yaml", "--data", "data", "--config", "config.yaml"),
    *("--confirm-share", "0", "--name", "run", "--budget"),
)


def survive(folder: Path, lives: int, longest_s: float, seed: int) -> None:
    """Kill a search that many times, each after a random time; then let it end."""
    sittings.prepare(folder)
    (folder / "data" / "pace").write_text("0.05")
    run = RunDirectory(folder / "results" / "run")
    rng = random.Random(seed)
    known: list[TrialRecord] = []
    print("| life | killed after, s | trials kept | charged, core-s |\n|---|---|---|---|")
    for life in range(1, lives + 1):
        moment = rng.uniform(1.0, longest_s)
        with sittings.sitting(folder, *_arguments(run, "1000trials")) as search:
            time.sleep(moment)
            search.send(signal.SIGKILL)
            search.end()
        known = sittings.check_kept(run, known) if run.path.exists() else known
        charged = sittings.spent(run) if known else 0.0
        print(f"| {life} | {moment:.1f} | {len(known)} | {charged:.0f} |", flush=True)
    with sittings.sitting(folder, *_arguments(run, f"{len(known) + 20}trials")) as search:
        assert search.end() == 0, search.output
    records = sittings.check_kept(run, known)
    assert sorted(record.trial for record in records) == list(range(len(records)))
    sittings.check_front(run, records)
    print(f"\nNothing was lost: {len(records)} trials, each once; table and front are the study's.")


def _arguments(run: RunDirectory, budget: str) -> tuple[str | Path, ...]:
    if run.config.exists():
        return ("--resume", run.path, "--budget", budget)
    if run.path.exists():  # killed in the moment between making the folder and writing into it
        for file in sorted(run.path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        run.path.rmdir()
    return (*_BEGIN, budget)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=20)
    parser.add_argument("--longest-s", type=float, default=25.0, help="a life's longest, seconds")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spnas-crashes-") as name:
        survive(Path(name), given.lives, given.longest_s, given.seed)
