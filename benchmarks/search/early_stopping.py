"""What early stopping saves: hypervolume against epochs trained, on a problem with learning curves.

`python benchmarks/search/early_stopping.py run` lets a sampler search with each scheduler and appends a line a
(problem, schedule, scheduler, seed) to a csv; what the csv has is not run again. `... report` makes tables of it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from contenders import CONTENDERS, OptunaContender
from optuna.trial import TrialState
from problems import PROBLEMS, Params, Problem
from report import cell

from spnas.search.scheduler import Rule, make_rule

RESULTS = Path(__file__).parents[1] / "results"
MARKS = (12, 25, 50)  # costs, in full trainings
SCHEDULES = {"2: 1": (2, (1,)), "8: 1 2 4": (8, (1, 2, 4)), "27: 1 3 9": (27, (1, 3, 9))}
"""Epochs and rungs by name."""
RULES = ("none", "epsilon-net", "promise")
_EARLY_SLOPE = 0.5  # how much larger differences between architectures are at first


class Curves:
    """Accuracies by epoch: the final one, differences magnified at first, plus errors that shrink as training goes on.

    Half of an error's variance is the architecture's own at all epochs (it learns slowly or quickly), half is new at
    each rung.

    Args:
        problem: Whose accuracies are the final ones.
        epochs: Of a full training.
        error: Standard deviation of the errors after the first epoch, as a share of that of accuracy over random
            architectures.
        seed: Of the errors.
    """

    def __init__(self, problem: Problem, epochs: int, error: float, seed: int) -> None:
        self._problem, self._epochs = problem, epochs
        self._rng = np.random.default_rng([seed, epochs])
        spread = problem.noise / 0.15  # standard deviation of accuracy over random architectures
        self._error = spread * error
        self._base = problem.accuracy({name: given[0] for name, given in problem.choices.items()})

    def draw(self, params: Params, rungs: tuple[int, ...]) -> list[float]:
        """Give the observed accuracies at the rungs and at the end."""
        true, own = self._problem.accuracy(params), self._rng.normal()
        observed = []
        for epoch in (*rungs, self._epochs):
            left = 1 - (epoch - 1) / (self._epochs - 1)  # 1 after the first epoch, 0 at the end
            error = self._error * left * (own + self._rng.normal()) / math.sqrt(2)
            noise = self._problem.noise * self._rng.normal()
            observed.append(true - _EARLY_SLOPE * left * (self._base - true) + error + noise)
        return observed


def search(
    problem: Problem,
    contender: OptunaContender,
    curves: Curves,
    schedule: tuple[int, tuple[int, ...]],
    rule: Rule,
) -> tuple[dict[str, float], int, int]:
    """Let a sampler search one architecture after another until the last mark's cost is spent.

    Returns:
        Share of the true hypervolume of what was fully trained, by mark; trials; those of them fully trained.
    """
    epochs, rungs = schedule
    cost, trials = 0, 0
    complete: list[Params] = []
    reached: dict[str, float] = {}
    known: set[tuple[object, ...]] = set()
    while len(reached) < len(MARKS):
        trial, params = contender.ask()
        identity = tuple(params[name] for name in problem.choices)
        if identity in known:  # by samplers that repeat themselves
            contender.study.tell(trial, state=TrialState.FAIL)
            continue
        known.add(identity)
        trials += 1
        latency = float(problem.latency([params])[0])
        values = curves.draw(params, rungs)
        done = epochs
        for rung, value in zip(rungs, values, strict=False):
            trial.set_user_attr(f"rung:{rung}", [value, latency])
            if not rule.goes_on(trials, rung, value, latency):
                done = rung
                break
        cost += done
        for mark in MARKS:
            if cost >= mark * epochs and str(mark) not in reached:
                reached[str(mark)] = problem.share(complete)
        if done == epochs:
            rule.complete(trials, values[-1], latency)
            complete.append(dict(params))
            contender.study.tell(trial, [values[-1], latency])
        else:
            contender.study.tell(trial, state=TrialState.PRUNED)
    return reached, trials, len(complete)


def run(args: argparse.Namespace) -> None:
    done = set()
    if args.csv.exists():
        table = pd.read_csv(args.csv)
        done = set(
            zip(
                *(
                    table[c]
                    for c in ("problem", "sampler", "schedule", "scheduler", "error", "seed")
                ),
                strict=True,
            )
        )
    jobs = [
        (name, sampler, schedule, scheduler, args.error, seed)
        for seed in range(args.seeds)
        for name in args.problems
        for sampler in args.samplers
        for schedule in args.schedules
        for scheduler in args.schedulers
    ]
    for job in jobs:
        if job in done:
            continue
        name, sampler, schedule, scheduler, error, seed = job
        problem = PROBLEMS[name](seed)
        contender = CONTENDERS[sampler](problem, seed)
        assert isinstance(contender, OptunaContender)
        curves = Curves(problem, SCHEDULES[schedule][0], error, seed)
        reached, trials, complete = search(
            problem,
            contender,
            curves,
            SCHEDULES[schedule],
            make_rule(scheduler, SCHEDULES[schedule][1]),
        )
        row = dict(
            zip(("problem", "sampler", "schedule", "scheduler", "error", "seed"), job, strict=True)
        )
        row |= {**reached, "trials": trials, "complete": complete}
        frame = pd.DataFrame([row]).round(4)
        frame.to_csv(args.csv, mode="a", header=not args.csv.exists(), index=False)
        print(frame.to_csv(header=False, index=False), end="", flush=True)


def report(args: argparse.Namespace) -> None:
    table = pd.read_csv(args.csv)
    keys = ["problem", "sampler", "schedule", "error"]
    for values, part in table.groupby(keys, sort=False):
        name, sampler, schedule, error = values
        epochs, _, rungs = str(schedule).partition(": ")
        print(f"### {name}, {sampler}, {epochs} epochs, rungs {rungs}, error {error}\n")
        heads = ["scheduler", "seeds", *map(str, MARKS), "trials", "fully trained"]
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for scheduler, rows in part.groupby("scheduler", sort=False):
            cells = [cell(rows[str(mark)]) for mark in MARKS]
            counts = [f"{rows[c].median():.0f}" for c in ("trials", "complete")]
            print("| " + " | ".join([str(scheduler), str(len(rows)), *cells, *counts]) + " |")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in {"run": run, "report": report}.items():
        sub = commands.add_parser(name)
        sub.add_argument("--csv", type=Path, default=RESULTS / "scheduler.csv")
        sub.set_defaults(command=command)
        if name == "run":
            sub.add_argument("--problems", nargs="+", default=["sites39-rank.75"])
            sub.add_argument("--samplers", nargs="+", default=["spnas"])
            sub.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
            sub.add_argument("--schedulers", nargs="+", choices=RULES, default=RULES)
            sub.add_argument("--error", type=float, default=0.329)
            sub.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    main()
