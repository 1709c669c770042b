"""Which sampler, and which scheduler, finds the better front in a real search: equal budgets, the same trained base.

`python benchmarks/real_search.py run --data bccd/data.yaml --weights base.pt --runs FOLDER` searches with each sampler
and seed, one after another; what is there is not searched again. With `report` it prints the table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from spnas.runs.pareto import hypervolume
from spnas.runs.table import read_trials, table_columns
from spnas.search.environment import machine_line

# Other samplers than spnas' own know neither table nor scores; graded mixtures are their first architectures.
CONTENDERS = {
    "latency-aware": {"sampler": "latency-aware"},
    **{name: {"sampler": name, "table_share": 0} for name in ("tpe", "nsga2", "random")},
    "no-stopping": {"sampler": "latency-aware", "scheduler": "none"},
    "epsilon-net": {"sampler": "latency-aware", "scheduler": "epsilon-net"},
    "random-no-stopping": {"sampler": "random", "table_share": 0, "scheduler": "none"},
}
SHARES = (0.5, 1.0)  # of the budget
_WORST = 0.5  # of the base's accuracy


def run(args: argparse.Namespace) -> None:
    for seed in range(args.seeds):
        for contender in args.contenders:
            name = f"{contender}-{seed}"
            if (args.runs / name).exists():
                continue
            args.runs.mkdir(parents=True, exist_ok=True)
            config = args.runs / f"{contender}.yaml"
            own = {**CONTENDERS[contender], "confirm_share": 0, "epochs": args.epochs}
            config.write_text(yaml.safe_dump(own))
            options = {"space": args.space, "data": args.data, "imgsz": args.imgsz}
            options |= {"weights": args.weights, "budget": args.budget, "config": config}
            options |= {"results": args.runs, "name": name, "seed": seed}
            given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
            subprocess.run([sys.executable, "-m", "spnas", "search", *given], check=True)


def volumes(run_directory: Path) -> dict[str, float]:
    """Give the share of the box from the base down to half its accuracy that the front dominates, and what it took."""
    trials = read_trials(run_directory / "trials.csv")
    metric = table_columns(trials).metric
    base = trials[trials.origin == "base"].iloc[0]
    trials = trials[(trials.state == "complete") & (trials.origin != "base")]
    begun, ended = base.started, trials.finished.max()
    found: dict[str, float] = {"complete": len(trials)}
    for share in SHARES:
        part = trials[trials.finished <= begun + share * (ended - begun)]
        area = hypervolume(
            list(part[metric]), list(part.latency_ratio), (_WORST * base[metric], 1.0)
        )
        found[f"{share:.0%}"] = area / (_WORST * base[metric])
    return found


def report(args: argparse.Namespace) -> None:
    rows = []
    for contender in args.contenders:
        for seed in range(args.seeds):
            path = args.runs / f"{contender}-{seed}"
            if (path / "trials.csv").exists():
                rows.append({"contender": contender, "seed": seed, **volumes(path)})
    table = pd.DataFrame(rows)
    print(
        f"# Searches beside each other\n\n{args.space} on {Path(args.data).parent.name}, {args.imgsz} px, "
        f"{args.budget} each after the base was trained, the same proxy training. Hypervolume of the trials' "
        "front after half of the time and at the end: the share of the area from the base to half its accuracy.\n"
    )
    marks = [f"{share:.0%}" for share in SHARES]
    print(f"| | seed | complete trials | {' | '.join(marks)} |\n|---|---|---|{'---|' * len(marks)}")
    for contender, part in table.groupby("contender", sort=False):
        for row in part.to_dict("records"):
            cells = " | ".join(f"{row[mark]:.4f}" for mark in marks)
            print(f"| {contender} | {row['seed']} | {row['complete']:.0f} | {cells} |")
        cells = " | ".join(f"**{part[mark].median():.4f}**" for mark in marks)
        print(f"| {contender} | median | {part.complete.median():.0f} | {cells} |")
    print(f"\n{machine_line(torch.device('cpu'))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in {"run": run, "report": report}.items():
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        sub.add_argument("--space", default="yolov8n")
        sub.add_argument("--data", required=True)
        sub.add_argument("--imgsz", type=int, default=160)
        sub.add_argument("--weights", type=Path)
        sub.add_argument("--budget", default="6cpu-min")
        sub.add_argument("--seeds", type=int, default=3)
        sub.add_argument("--epochs", type=int, help="of a trial; default: the search's own")
        sub.add_argument(
            "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS)[:4]
        )
        sub.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
