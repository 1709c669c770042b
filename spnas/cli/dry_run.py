"""`spnas search --dry-run`: what a search would do with its budget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spnas.search.config import SearchConfig
    from spnas.search.forecast import Phase
    from spnas.search.plan import Plan


def show_plan(config: SearchConfig, *, as_json: bool) -> int:
    """Measure for seconds what a search's parts take, and print its phases; exit code 2 for too small a budget."""
    from dataclasses import asdict

    from spnas.search.costs import measure_costs
    from spnas.search.forecast import forecast
    from spnas.search.plan import make_plan
    from spnas.search.run import on_cluster

    plan = on_cluster(make_plan(config))
    costs = measure_costs(plan)
    phases = forecast(plan, costs)
    problem = _problem(phases)
    if as_json:
        content = {
            "plan": plan.describe(),
            "resolved": plan.resolved(),
            "costs": asdict(costs),
            "phases": [phase.to_dict() for phase in phases],
            "problem": problem,
        }
        print(json.dumps(content, indent=2))
    else:
        _print(plan, phases, problem)
    return 2 if problem else 0


def _problem(phases: list[Phase]) -> str | None:
    base = phases[0]
    if base.share >= 1:
        return (
            f"the budget ends before the base network is trained (about {_clock(base.wall_s)}); "
            "expected a larger --budget, --weights, or fewer base_epochs in --config"
        )
    trials = sum(phase.trials for phase in phases if phase.name in ("seeds", "trials"))
    return None if trials else "the budget is too small for a single trial"


def _print(plan: Plan, phases: list[Phase], problem: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(plan.describe(), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("phase", no_wrap=True)
    table.add_column("", overflow="fold")
    for name in ("wall time", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for phase in phases:
        table.add_row(phase.name, phase.told, _clock(phase.wall_s), f"{phase.share:.0%}")
    console.print()
    console.print(table)
    console.print()
    console.print(
        "Measured with the base network, on this machine, just now; other load makes all of it uncertain. What the "
        "table does not take, what confirmation cannot use, and trials that a rung stops or that exceed a limit make "
        "room for more trials. Starting Ray and its workers takes some seconds beside this. Nothing was written.",
        soft_wrap=True,
    )
    if problem:
        console.print(problem, soft_wrap=True)


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
