"""Architectures that are a front already, from scores and latencies of the single choices: an integer programme.

Score and latency of an architecture are taken as sums over its sites. Then the best one within a latency budget is the
solution of a multiple-choice knapsack problem, and a sweep of budgets gives a front, before anything is trained. After
Molchanov et al., "LANA: Latency Aware Network Acceleration", ECCV 2022, equations 2 and 3.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, vstack

C = TypeVar("C", bound=Hashable)
Table = Mapping[str, Mapping[C, float]]

_ALONE = threading.Lock()  # a process has one standard output


def solve_budgets(
    scores: Table[C],
    latencies: Table[C],
    budgets: int | Sequence[float] = 20,
    *,
    ties: Sequence[Sequence[str]] = (),
    min_different: int = 1,
    time_limit_s: float = 10.0,
) -> list[dict[str, C]]:
    """Find the highest sum of scores within each latency budget, one choice a site, by HiGHS.

    Args:
        scores: Of each choice at each site, the higher the better, on any one scale.
        latencies: Of the same choices, ms.
        budgets: Largest sums of latencies, ms; or how many, evenly spaced between the fastest architecture and the one
            of the highest score.
        ties: Groups of sites that share one choice; those that all sites of a group have are allowed.
        min_different: Free sites (a tied group being one) at which a solution differs from every earlier one, at least.
        time_limit_s: For one budget; the best found by then counts.

    Returns:
        Choice by site, for the budgets from the largest to the smallest. A budget that nothing new fits is left out.

    Raises:
        ValueError: The tables have different sites or choices, or a tied group has no choice in common.
    """
    programme = _Programme(scores, latencies, ties)
    if isinstance(budgets, int):
        slowest = programme.latency(programme.best())
        sweep = np.linspace(slowest, programme.fastest(), budgets)
    else:
        sweep = np.array(budgets, dtype=float)
    found: list[NDArray[np.float64]] = []
    for budget in np.sort(sweep)[::-1].tolist():
        solution = programme.solve(budget, found, min_different, time_limit_s)
        if solution is not None:
            found.append(solution)
    return [programme.choices(solution) for solution in found]


class _Programme(Generic[C]):
    """One binary variable a free site and choice, in columns."""

    def __init__(
        self, scores: Table[C], latencies: Table[C], ties: Sequence[Sequence[str]]
    ) -> None:
        _check(scores, latencies, ties)
        tied = {site: tuple(group) for group in ties for site in group}
        self._groups = list(dict.fromkeys(tied.get(site, (site,)) for site in scores))
        self._columns = [
            (group, choice)
            for group in self._groups
            for choice in scores[group[0]]
            if all(choice in scores[site] for site in group)
        ]
        self._scores = np.array([sum(scores[s][c] for s in group) for group, c in self._columns])
        self._latencies = np.array([sum(latencies[s][c] for s in g) for g, c in self._columns])
        places = {group: row for row, group in enumerate(self._groups)}
        rows = [places[group] for group, _ in self._columns]
        ones = np.ones(len(rows))
        self._one_each = csr_array((ones, (rows, np.arange(len(rows)))))

    def solve(
        self,
        budget: float,
        earlier: Sequence[NDArray[np.float64]],
        min_different: int,
        time_limit_s: float,
    ) -> NDArray[np.float64] | None:
        """Give the best assignment of 0 or 1 to the columns; None where there is none."""
        sites = len(self._groups)
        slack = 1e-9 * max(
            1.0, abs(budget)
        )  # the fastest architecture fits a budget of its own latency
        matrix = vstack([self._one_each, csr_array(np.stack([self._latencies, *earlier]))])
        low = np.concatenate([np.ones(sites), np.full(1 + len(earlier), -np.inf)])
        most_equal = np.full(len(earlier), sites - min_different)
        high = np.concatenate([np.ones(sites), [budget + slack], most_equal])
        with _silence():
            result = milp(
                -self._scores,
                integrality=np.ones(len(self._columns)),
                bounds=Bounds(0, 1),
                constraints=LinearConstraint(matrix, low, high),
                options={"time_limit": time_limit_s},
            )
        return None if result.x is None else np.round(result.x)

    def best(self) -> NDArray[np.float64]:
        """Give the assignment of the highest score, of equal ones the fastest."""
        return self._pick(np.lexsort((self._latencies, -self._scores)))

    def fastest(self) -> float:
        """Give the lowest latency there is."""
        return self.latency(self._pick(np.argsort(self._latencies)))

    def latency(self, solution: NDArray[np.float64]) -> float:
        """Sum the latencies."""
        return float(self._latencies @ solution)

    def _pick(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Take, of each group, the column that comes first in an order."""
        first: dict[tuple[str, ...], int] = {}
        for column in order.tolist():
            first.setdefault(self._columns[column][0], column)
        solution = np.zeros(len(self._columns))
        solution[list(first.values())] = 1.0
        return solution

    def choices(self, solution: NDArray[np.float64]) -> dict[str, C]:
        """Give the choice of every site."""
        taken = [self._columns[column] for column in np.flatnonzero(solution)]
        return {site: choice for group, choice in taken for site in group}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep off standard output what C code prints meanwhile; Python's other threads should not print either.

    HiGHS 1.12 tells its developers something there, https://github.com/ERGO-Code/HiGHS/issues/2783, where programs
    read what a search tells.
    """
    try:
        flush = ctypes.CDLL(None).fflush
        kept = os.dup(1)
    except (OSError, TypeError, AttributeError):  # no such C library, no standard output
        yield
        return
    with _ALONE:
        try:
            flush(None)  # what C has not written yet
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            yield
            flush(None)
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _check(scores: Table[C], latencies: Table[C], ties: Sequence[Sequence[str]]) -> None:
    problems = []
    if set(scores) != set(latencies):
        different = sorted(set(scores) ^ set(latencies))
        problems.append(f"sites that are in one table only: {', '.join(different)}")
    for site in scores:
        if set(scores[site]) != set(latencies.get(site, {})):
            there = ", ".join(map(str, latencies.get(site, {})))
            problems.append(
                f"site {site}: scores of {', '.join(map(str, scores[site]))}, latencies of {there}"
            )
    for group in ties:
        unknown = [site for site in group if site not in scores]
        if unknown:
            problems.append(f"tied sites that the tables do not have: {', '.join(unknown)}")
        elif not set.intersection(*(set(scores[site]) for site in group)):
            problems.append(f"tied sites without a common choice: {', '.join(group)}")
    if problems:
        raise ValueError("\n".join(problems))
