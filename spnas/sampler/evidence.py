"""What an Optuna study's trials tell, as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from spnas.sampler.categories import Categories, Codes, Floats
from spnas.sampler.proposer import Evidence
from spnas.sampler.surrogate import Observations

_RUNG = "rung:"
_FEWEST_PAIRS = 5  # trials that reached both a rung and the end, to foretell the end from the rung


def gather(
    trials: Sequence[FrozenTrial],
    categories: Categories,
    latency: Callable[[Codes], Floats],
    proposed: Mapping[int, Codes],
    max_latency: float = math.inf,
) -> Evidence:
    """Read trials.

    Args:
        trials: All but the one that is asked for.
        categories: The parameters; trials that lack one, or have a choice that is unknown, are passed over.
        latency: Gives the latencies of rows.
        proposed: By trial number, rows that were proposed but may not be stored yet.
        max_latency: Slower architectures are of no use, ms.
    """
    rows: dict[int, Codes] = {}
    for trial in trials:
        row = _row(trial, categories, proposed)
        if row is not None:
            rows[trial.number] = row
    there = [trial for trial in trials if trial.number in rows]
    foretold = _foretell_stopped(there)
    accuracy = {t.number: (t.values[0], 0.0) for t in there if t.state == TrialState.COMPLETE}
    front = {t.number for t in there if t.number in accuracy and _is_feasible(t)}

    def observe(values: Mapping[int, tuple[float, float]]) -> tuple[Observations, list[int]]:
        chosen = np.array([rows[number] for number in values], dtype=np.int64)
        chosen = chosen.reshape(len(values), len(categories.counts))
        late = latency(chosen)
        pairs = np.array(list(values.values()), dtype=float).reshape(-1, 2)
        finite = np.isfinite(late) & np.isfinite(pairs).all(1)
        found = Observations(chosen[finite], late[finite], pairs[finite, 0], pairs[finite, 1])
        return found, np.array(list(values), dtype=np.int64)[finite].tolist()

    observed, numbers = observe({**foretold, **accuracy})
    under_way = {t.number: (0.0, 0.0) for t in there if t.state == TrialState.RUNNING}
    violations = {name: observe(found)[0] for name, found in _violations(there).items()}
    return Evidence(
        observed=observed,
        on_front=np.array([number in front for number in numbers], dtype=bool),
        pending=observe(under_way)[0].rows,
        taken={row.tobytes() for row in rows.values()},
        violations={name: data for name, data in violations.items() if len(data)},
        max_latency=max_latency,
    )


def _row(trial: FrozenTrial, categories: Categories, proposed: Mapping[int, Codes]) -> Codes | None:
    """Give a trial's row; of one not yet begun, or just begun, what is laid down for it."""
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    try:
        return np.asarray(categories.encode([params])[0])
    except KeyError:
        return None if trial.state.is_finished() else proposed.get(trial.number)


def _violations(trials: Sequence[FrozenTrial]) -> dict[str, dict[int, tuple[float, float]]]:
    """Give, by constraint, the violations by trial number, of no variance.

    A complete trial without a constraint that others have met it, as far as the median of those misses or meets it.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for trial in trials:
        for name, value in trial.constraints.items():
            found.setdefault(name, {})[trial.number] = (value, 0.0)
    for given in found.values():
        met = -float(np.median([abs(value) for value, _ in given.values()]))
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                given.setdefault(trial.number, (met, 0.0))
    return found


def _is_feasible(trial: FrozenTrial) -> bool:
    return all(value <= 0 for value in trial.constraints.values())


def _foretell_stopped(trials: Sequence[FrozenTrial]) -> dict[int, tuple[float, float]]:
    """Foretell what trials that were stopped early would have ended with, and the variance of that.

    A line from the accuracy at the rung to that at the end is fitted to the trials that have both.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    foretold = {}
    lines: dict[int, tuple[float, float, float] | None] = {}
    for trial in trials:
        reached = dict(_rungs(trial)) if trial.state == TrialState.PRUNED else {}
        if reached:
            rung = max(reached)
            if rung not in lines:
                lines[rung] = _line(rung, complete)
            line = lines[rung]
            if line is not None:
                start, slope, variance = line
                foretold[trial.number] = start + slope * reached[rung], variance
    return foretold


def _line(rung: int, complete: Sequence[FrozenTrial]) -> tuple[float, float, float] | None:
    """Fit start and slope, and give the variance about the line; None where too few trials tell."""
    pairs = [(reached[rung], t.values[0]) for t in complete if rung in (reached := dict(_rungs(t)))]
    early, late = np.array(pairs, dtype=float).reshape(-1, 2).T
    if len(pairs) < _FEWEST_PAIRS or early.std() == 0:
        return None
    slope = max(float(np.cov(early, late)[0, 1] / early.var(ddof=1)), 0.0)
    start = float(late.mean() - slope * early.mean())
    missed = late - start - slope * early
    return start, slope, float((missed**2).sum() / (len(pairs) - 2))


def _rungs(trial: FrozenTrial) -> Iterator[tuple[int, float]]:
    """Iterate over epochs and accuracy in a trial's user attributes `rung:<epochs>`.

    The value is the accuracy, or a list that begins with it.
    """
    for name, value in trial.user_attrs.items():
        if name.startswith(_RUNG):
            yield int(name.removeprefix(_RUNG)), _first(value)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, list | tuple) else value)
