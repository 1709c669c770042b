"""The integer programme against trying every architecture."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from spnas.sampler import programme
from spnas.sampler.programme import solve_budgets

Tables = tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]


def _tables(seed: int, sites: int = 5) -> Tables:
    rng = np.random.default_rng(seed)
    names = [f"site{i}" for i in range(sites)]
    choices = {name: "abcd"[: rng.integers(1, 5)] for name in names}
    return (
        {name: {c: float(rng.normal()) for c in choices[name]} for name in names},
        {name: {c: float(rng.lognormal()) for c in choices[name]} for name in names},
    )


def _total(table: dict[str, dict[str, float]], architecture: dict[str, str]) -> float:
    return sum(table[site][choice] for site, choice in architecture.items())


def _everything(table: dict[str, dict[str, float]]) -> list[dict[str, str]]:
    return [dict(zip(table, row, strict=True)) for row in itertools.product(*table.values())]


@pytest.mark.parametrize("seed", range(4))
def test_each_solution_is_the_best_within_its_budget(seed: int) -> None:
    scores, latencies = _tables(seed)
    fastest = min(_total(latencies, one) for one in _everything(scores))
    for budget in fastest + np.array([0.0, 0.3, 1.0, 3.0]):
        (found,) = solve_budgets(scores, latencies, [budget])
        assert _total(latencies, found) <= budget + 1e-6
        allowed = [one for one in _everything(scores) if _total(latencies, one) <= budget + 1e-9]
        assert _total(scores, found) == pytest.approx(max(_total(scores, o) for o in allowed))
    assert solve_budgets(scores, latencies, [0.99 * fastest]) == []


def test_a_sweep_reaches_from_the_best_to_the_fastest_without_repeats() -> None:
    scores, latencies = _tables(7, sites=8)
    found = solve_budgets(scores, latencies, 12)
    assert len({tuple(one.items()) for one in found}) == len(found) == 12
    assert found[0] == {site: max(given, key=given.__getitem__) for site, given in scores.items()}
    assert found[-1] == {s: min(given, key=given.__getitem__) for s, given in latencies.items()}
    totals = [_total(latencies, one) for one in found]
    budgets = np.linspace(totals[0], totals[-1], 12)
    assert all(total <= budget + 1e-6 for total, budget in zip(totals, budgets, strict=True))


def test_solutions_differ_from_earlier_ones_in_as_many_sites_as_asked() -> None:
    scores, latencies = _tables(3, sites=6)
    found = solve_budgets(scores, latencies, [100.0] * 4, min_different=2)
    assert len(found) == 4
    for one, other in itertools.combinations(found, 2):
        assert sum(one[site] != other[site] for site in one) >= 2
    # The second is the best of those that differ enough from the first.
    far = [o for o in _everything(scores) if sum(o[s] != found[0][s] for s in o) >= 2]
    assert _total(scores, found[1]) == pytest.approx(max(_total(scores, one) for one in far))


def test_tied_sites_share_the_choice_that_is_best_for_them_together() -> None:
    scores = {
        "one": {"a": 0.0, "b": 5.0},
        "two": {"a": 0.0, "b": -6.0, "c": 9.0},
        "three": {"a": 0.0, "b": 1.0},
    }
    latencies = {site: dict.fromkeys(given, 1.0) for site, given in scores.items()}
    ties = [("one", "two")]
    assert solve_budgets(scores, latencies, [3.0], ties=ties) == [
        {"one": "a", "two": "a", "three": "b"}
    ]
    latencies["two"]["a"] = 9.0
    assert solve_budgets(scores, latencies, [3.0], ties=ties) == [
        {"one": "b", "two": "b", "three": "b"}
    ]


def test_tables_that_do_not_fit_are_told() -> None:
    scores = {"one": {"a": 0.0}, "two": {"b": 1.0}}
    with pytest.raises(ValueError, match="site two: scores of b, latencies of c"):
        solve_budgets(scores, {"one": {"a": 1.0}, "two": {"c": 1.0}})
    with pytest.raises(ValueError, match="in one table only: two"):
        solve_budgets({"one": {"a": 0.0}}, {"one": {"a": 1.0}, "two": {"c": 1.0}})
    with pytest.raises(ValueError, match="tied sites without a common choice: one, two"):
        solve_budgets(scores, scores, ties=[("one", "two")])


def test_what_the_solver_prints_is_kept_off_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HiGHS 1.12 prints a line now and then, whatever it was told; C writes it later."""
    milp, libc = programme.milp, ctypes.CDLL(None)

    def talkative(*args: Any, **options: Any) -> Any:
        libc.printf(b"HighsMipSolverData\n")
        return milp(*args, **options)

    monkeypatch.setattr(programme, "milp", talkative)
    libc.printf(b"before\n")
    assert len(solve_budgets(*_tables(0), budgets=2)) == 2
    libc.printf(b"after\n")
    libc.fflush(None)
    assert capfd.readouterr().out == "before\nafter\n"


def test_without_a_standard_output_all_the_same() -> None:
    code = (
        "import os; os.close(1)\n"
        "from spnas.sampler.programme import solve_budgets\n"
        "table = {'a': {'x': 1.0, 'y': 0.0}, 'b': {'x': 1.0, 'y': 0.0}}\n"
        "assert len(solve_budgets(table, table, budgets=2)) == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
