"""A small space without a network, and a coordinator on it with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spnas.runs import RunDirectory
from spnas.search.budget import Budget, Ledger
from spnas.search.coordinator import Coordinator
from spnas.search.limits import Limits
from spnas.search.scheduler import Rule, RungRule
from spnas.search.study import SearchStudy
from spnas.spaces import SearchSpace, load_space


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    """Three searchable sites of ResNet-20 with three choices each: 27 architectures."""
    file = tmp_path_factory.mktemp("space") / "small.yaml"
    file.write_text(
        "schema_version: 1\n"
        "base: resnet20-cifar\n"
        "sites:\n"
        '  - match: "*"\n'
        "    choices: [regular]\n"
        '  - match: "layer1.*.conv1"\n'
        "    choices: [regular, {op: ghost, ratio: 0.5}, {op: spconv, ratio: 0.5}]\n"
    )
    return load_space(file)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_coordinator(
    tmp_path: Path, space: SearchSpace, clock: Clock
) -> Callable[..., Coordinator]:
    def make(
        budget: str = "100trials",
        rungs: tuple[int, ...] = (1,),
        slots: int = 2,
        spent: float = 0.0,
        grace: int = 4,
        limits: Limits | None = None,
        rule: Rule | None = None,
    ) -> Coordinator:
        path = tmp_path / "run"
        run = RunDirectory.open(path) if path.exists() else RunDirectory.create(tmp_path, "run")
        run.config.write_text("space: small\nbudget: 1m\n")
        study = SearchStudy(run.study, space, "top1", seed=0)
        study.limits = limits or Limits()
        return Coordinator(
            run,
            study,
            Ledger(Budget.parse(budget), slots, spent=spent, clock=clock),
            rule or RungRule(rungs, grace=grace),
            score_columns=("top1",),
            sites=tuple(site.name for site in space.sites),
            slots=slots,
            devices_per_trial=1.0,
            again=2.0,
            clock=clock,
        )

    return make
