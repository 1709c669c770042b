"""What a search tells of itself: to programs, to people, and nothing at all."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from spnas.architecture import Architecture
from spnas.search.coordinator import Coordinator
from spnas.search.objective import Evaluation
from spnas.search.progress import Progress, render
from spnas.search.seeds import seed_architectures
from spnas.search.telling import Manner, Telling, told
from spnas.spaces import SearchSpace

Make = Callable[..., Coordinator]
logger = logging.getLogger("spnas")


def evaluation(replaced: int) -> Evaluation:
    scores = {"top1": 0.9 - 0.1 * replaced}
    return Evaluation(
        1, scores, latency_ms=9.0 - replaced, latency_ratio=1 - 0.1 * replaced, params=1, macs=2
    )


def told_by(manner: Manner, coordinator: Coordinator, file: Path, terminal: bool = False) -> str:
    """Run a trial and give what is told of it."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with Telling(manner, console).log_to(file):
        logger.info("run x", extra=told("start", run="x"))
        proposal = coordinator.start("a")
        assert proposal is not None
        coordinator.end("a", evaluation(len(proposal.architecture)), None)
        logger.warning("<odd> [bold]names[/bold]")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_programs_get_an_object_a_line(make_coordinator: Make, tmp_path: Path) -> None:
    coordinator = make_coordinator()
    lines = told_by("json", coordinator, tmp_path / "log.txt").splitlines()
    start, trial, warning = map(json.loads, lines)
    (record,) = coordinator.records
    assert (start["event"], start["run"], start["message"]) == ("start", "x", "run x")
    assert (trial["event"], trial["state"], trial["scores"]) == ("trial", "complete", record.scores)
    assert Architecture.from_text(trial["architecture"]) == record.architecture
    assert trial["hypervolume"] == coordinator.hypervolume() > 0
    assert (warning["event"], warning["message"]) == ("warning", "<odd> [bold]names[/bold]")


def test_people_get_lines_and_in_a_terminal_none_for_what_the_view_shows(
    make_coordinator: Make, tmp_path: Path
) -> None:
    coordinator, log = make_coordinator(), tmp_path / "log.txt"
    assert told_by("quiet", coordinator, log) == ""
    plain = told_by("people", coordinator, log)
    assert [line.split(" ", 2)[2].split(" |")[0] for line in plain.splitlines()] == [
        *("run x", "trial 1 complete", "<odd> [bold]names[/bold]")
    ]
    live = told_by("people", coordinator, log, terminal=True)
    assert "run x" in live
    assert "[bold]names[/bold]" in live
    assert "trial 2" not in live
    told_by("json", coordinator, log)
    assert [f"trial {n} complete" in log.read_text() for n in range(5)] == [True] * 4 + [False]


def test_the_view_fits_a_terminal_and_has_what_runs_what_it_cost_and_how_long_it_takes(
    make_coordinator: Make, space: SearchSpace, clock: object
) -> None:
    coordinator = make_coordinator(budget="1h", slots=6, rungs=(1, 2))
    coordinator.study.enqueue(seed_architectures(space))
    for _ in range(12):
        proposal = coordinator.start("a")
        assert proposal is not None
        clock.now += 65  # type: ignore[attr-defined]
        coordinator.end("a", evaluation(len(proposal.architecture)), None)
    coordinator.ledger.reserve(600 * coordinator.ledger.devices)
    for key in "abcdef":
        coordinator.start(key)
    coordinator.goes_on("a", evaluation(0))
    clock.now += 7  # type: ignore[attr-defined]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    with Progress(lambda: render(coordinator), coordinator.heartbeat, None) as progress:
        progress.tick()
        console.print(render(coordinator))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    text = "\n".join(lines)
    assert "13.1 of 60 min" in text
    assert "to go 46:53" in text  # the confirmation's part too
    assert "trials 12 complete" in text
    running = next(line for line in lines if line.startswith("running"))
    assert running.split()[1:3] == ["12", "sampler"] or running.split()[1:3] == ["12", "seed"]
    assert "epoch 1, 0.9000" in running
    assert running.rstrip().endswith("0:07")
    assert "and 2 more running" in text
    ended = next(line for line in lines if line.startswith("ended"))
    assert ended.split()[1] == "11"
    assert ended.rstrip().endswith("1:05")
    assert "pareto/00-" in text
