"""What trials of an Optuna study tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from spnas.search.categories import Categories, Codes, Floats
from spnas.search.evidence import gather

_CATEGORIES = Categories({"a": range(100), "b": "xy"})
_SPACE = {name: CategoricalDistribution(given) for name, given in _CATEGORIES.choices.items()}


def _latency(rows: Codes) -> Floats:
    return np.where(rows[:, 0] == 13, np.inf, 1.0 + rows[:, 0])


def _trial(number: int, a: int, **keywords: Any) -> FrozenTrial:
    trial = create_trial(params={"a": a, "b": "x"}, distributions=_SPACE, **keywords)
    trial.number = number
    return trial


def test_each_state_tells_its_own() -> None:
    running = _trial(4, 40, state=TrialState.RUNNING)
    begun = create_trial(state=TrialState.RUNNING)
    begun.number = 5
    waiting = create_trial(
        state=TrialState.WAITING, system_attrs={"fixed_params": {"a": 60, "b": "y"}}
    )
    waiting.number = 6
    partial = create_trial(state=TrialState.FAIL)
    partial.number = 7
    trials = [
        _trial(0, 0, values=[0.5, 9.0]),
        _trial(1, 10, values=[0.6, 9.0], constraints={"memory": 3.0}),
        _trial(2, 20, state=TrialState.FAIL),
        _trial(3, 30, state=TrialState.PRUNED),
        running,
        begun,
        waiting,
        partial,
        _trial(8, 13, values=[0.9, 9.0]),  # out of the question, as it turns out
    ]
    evidence = gather(trials, _CATEGORIES, _latency, {5: np.array([50, 1])})
    assert evidence.observed.rows.tolist() == [[0, 0], [10, 0]]
    assert evidence.observed.accuracy.tolist() == [0.5, 0.6]
    assert evidence.observed.latency.tolist() == [1.0, 11.0]  # foretold, as that of others is
    assert evidence.on_front.tolist() == [True, False]
    assert evidence.pending.tolist() == [[40, 0], [50, 1]]
    taken = [[0, 0], [10, 0], [20, 0], [30, 0], [40, 0], [50, 1], [60, 1], [13, 0]]
    assert evidence.taken == {np.array(row).tobytes() for row in taken}
    assert evidence.violations["memory"].rows.tolist() == [[10, 0], [0, 0]]
    assert evidence.violations["memory"].accuracy.tolist() == [3.0, -3.0]


def test_a_stopped_trial_is_foretold_from_its_last_rung() -> None:
    rng = np.random.default_rng(0)
    early = rng.uniform(0.2, 0.4, 20)
    late = 0.1 + 1.5 * early + rng.normal(0, 0.01, 20)
    complete = [
        _trial(
            i, 60 + i, values=[late[i], 1.0], user_attrs={"rung:1": 0.0, "rung:3": [early[i], 7.0]}
        )
        for i in range(20)
    ]
    stopped = [
        _trial(20, 50, state=TrialState.PRUNED, user_attrs={"rung:1": 0.0, "rung:3": 0.3}),
        _trial(21, 51, state=TrialState.PRUNED, user_attrs={"rung:1": 0.2}),  # tells no line
    ]
    observed = gather(complete + stopped, _CATEGORIES, _latency, {}).observed
    place = observed.rows[:, 0].tolist().index(50)
    assert observed.accuracy[place] == pytest.approx(0.1 + 1.5 * 0.3, abs=0.01)
    assert observed.variance[place] == pytest.approx(0.01**2, rel=0.7)
    assert len(observed) == 21
    few = gather(complete[:4] + stopped, _CATEGORIES, _latency, {}).observed
    assert len(few) == 4
