"""Compare samplers on problems whose true Pareto front is known.

`python benchmarks/search run` evaluates contenders and appends a line a (problem, contender, seed) to a csv; what the
csv has is not run again. `python benchmarks/search report` makes tables and a plot of it.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import pandas as pd
from contenders import CONTENDERS, Contender
from problems import PROBLEMS, Params, Problem
from report import MARKS, write_plot, write_tables

RESULTS = Path(__file__).parents[1] / "results"
_ASKS = 50  # for an architecture that was not evaluated; then one is drawn at random


def evaluate(
    problem: Problem, contender: Contender, evaluations: int, seed: int
) -> tuple[list[Params], float]:
    """Let a contender search.

    A repeated proposal is answered with what is known and not counted; nor is one that is not a network.

    Returns:
        What it evaluated, in order, and its CPU seconds a suggestion.
    """
    rng, noise = random.Random(seed), random.Random(1000 + seed)
    known: dict[tuple[object, ...], tuple[float, float]] = {}
    evaluated: list[Params] = []
    seconds, asks = 0.0, 0
    while len(evaluated) < evaluations:
        given = problem.draw(rng) if asks >= _ASKS else None
        begun = time.process_time()
        key, params = contender.ask(given)
        asks += 1
        identity = tuple(params[name] for name in problem.choices)
        if identity not in known:
            observed = problem.accuracy(params) + problem.noise * noise.gauss(0, 1)
            known[identity] = observed, float(problem.latency([params])[0])
            if observed == observed:  # not NaN: there is such a network
                evaluated.append(dict(params))
                asks = 0
        contender.tell(key, params, *known[identity])
        seconds += time.process_time() - begun
    return evaluated, seconds / evaluations


def run(args: argparse.Namespace) -> None:
    done = set()
    if args.csv.exists():
        table = pd.read_csv(args.csv)
        done = set(zip(table.problem, table.contender, table.seed, strict=True))
    for seed in range(args.seeds):
        for name in args.problems:
            for contender in args.contenders:
                if (name, contender, seed) in done:
                    continue
                problem = PROBLEMS[name](seed)
                sampler = CONTENDERS[contender](problem, seed)
                evaluated, seconds = evaluate(problem, sampler, args.evaluations, seed)
                row = {"problem": name, "contender": contender, "seed": seed}
                row |= {str(m): problem.share(evaluated[:m]) for m in MARKS if m <= len(evaluated)}
                row["seconds"] = seconds
                columns = ["problem", "contender", "seed", *map(str, MARKS), "seconds"]
                frame = pd.DataFrame([row]).reindex(columns=columns).round(4)
                frame.to_csv(args.csv, mode="a", header=not args.csv.exists(), index=False)
                print(frame.to_csv(header=False, index=False), end="", flush=True)


def report(args: argparse.Namespace) -> None:
    table = pd.read_csv(args.csv)
    print(write_tables(table))
    write_plot(table, args.csv.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in {"run": run, "report": report}.items():
        sub = commands.add_parser(name)
        sub.add_argument("--csv", type=Path, default=RESULTS / "search.csv")
        sub.set_defaults(command=command)
        if name == "run":
            sub.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
            every = list(CONTENDERS)
            sub.add_argument("--contenders", nargs="+", choices=every, default=every)
            sub.add_argument("--seeds", type=int, default=10)
            sub.add_argument("--evaluations", type=int, default=400)
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
