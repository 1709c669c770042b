from __future__ import annotations

import pytest

from spnas.search.config import SearchConfig
from spnas.search.costs import measure_costs
from spnas.search.forecast import Costs, Phase, forecast
from spnas.search.plan import make_plan
from spnas.search.seeds import seed_architectures

COSTS = Costs(base_step_s=0.5, step_s=1.0, image_s=0.01, latency_s=3.0)


def phases(**options: object) -> dict[str, Phase]:
    """Foretell a search of ResNet-20 on the embedded digits: 640 training and 320 validation images."""
    given = {"space": "resnet20-cifar", "device": "cpu", "cpus": 2, "budget": "1h", **options}
    plan = make_plan(SearchConfig(**given))
    return {phase.name: phase for phase in forecast(plan, COSTS)}


def test_a_time_is_divided_among_the_phases() -> None:
    found = phases()
    assert sum(phase.share for phase in found.values()) == pytest.approx(1)
    assert sum(phase.wall_s for phase in found.values()) == pytest.approx(3600)
    base = 3.0 + 4 * 20 * 0.5 + (320 + 96) * 0.01  # 4 epochs of 20 steps, one scoring
    assert found["base network"].wall_s == pytest.approx(base)
    left = 3600 - base
    assert found["table and scores"].wall_s == pytest.approx(0.25 * left)
    assert found["confirmation"].wall_s == pytest.approx(0.2 * 0.75 * left)
    trial = 2 * 3.0 + 2 * 20 * 1.0 + 2 * (320 + 96) * 0.01  # 2 epochs, one rung
    trials = found["seeds"].trials + found["trials"].trials
    assert trials == 2 * int(0.8 * 0.75 * left / trial)
    again = 2 * 1.0 + 4 * 20 * 1.0 + (320 + 96) * 0.01
    assert found["confirmation"].trials == 2 * int(0.2 * 0.75 * left / again)
    space = make_plan(SearchConfig(space="resnet20-cifar", budget="1h", device="cpu")).space
    assert found["seeds"].trials == len(seed_architectures(space))


def test_a_number_of_trials_is_counted() -> None:
    found = phases(budget="50trials")
    assert found["seeds"].trials + found["trials"].trials == 50
    assert found["confirmation"].trials == 10
    assert phases(budget="9trials")["confirmation"].trials == 0


def test_a_budget_too_small_for_the_base_leaves_nothing() -> None:
    found = phases(budget="30s")
    assert found["base network"].share > 1
    assert all(phase.trials == 0 for phase in found.values())


def test_costs_are_measured() -> None:
    costs = measure_costs(
        make_plan(SearchConfig(space="resnet20-cifar", budget="1h", device="cpu"))
    )
    assert 0 < costs.image_s < costs.step_s
    assert costs.base_step_s > 0
    assert costs.latency_s > 0
