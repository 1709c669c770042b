"""The runs in results/published: searches beside random search, uniform networks and the base, and README's table.

`python benchmarks/published.py search NAME --data FOLDER --runs FOLDER` searches with the default sampler and randomly,
at equal budgets, evaluates the uniform architectures as the confirmation evaluates the front's, and copies what is
small to results/published/NAME. `... train NAME --data FOLDER --weights base.pt --models FILE...` trains models of the
front fully, and the base as long, from the base's weights. `... readme` draws the pictures and writes README's section
from those files; with `--check` it writes nothing and fails where README says something else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml
from published_findings import PUBLISHED, RUNS, Findings, Run

from spnas.architecture import REGULAR, Architecture
from spnas.finish import train_model
from spnas.networks.document import model_document
from spnas.runs import RunDirectory
from spnas.search.config import read_config
from spnas.search.objective import Evaluator
from spnas.search.plan import make_plan
from spnas.spaces import load_space
from spnas.tasks import check_data

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- published: benchmarks/published.py readme -->", "<!-- end of published -->"
KEPT = (
    *("trials.csv", "confirmed.csv", "pareto.csv", "rungs.csv", "costs.csv", "pareto.png"),
    "environment.json",
)
SEEDS = (1, 2)  # of a uniform network's trainings


def search(args: argparse.Namespace) -> None:
    run, target = RUNS[args.name], PUBLISHED / args.name
    for sampler in ("latency-aware", "random"):
        name = f"{args.name}-{sampler}"
        if not (args.runs / name).exists():
            _search(run, args.data / run.data, args.runs, name, sampler)
        folder = target if sampler == "latency-aware" else target / "random"
        _copy(args.runs / name, folder, run.data)
    found = baselines(args.runs / f"{args.name}-latency-aware", run)
    found.to_csv(target / "baselines.csv", index=False)


def _search(run: Run, data: Path, runs: Path, name: str, sampler: str) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    # Random search has no use for table and scores.
    more = run.options | ({"table_share": 0} if sampler == "random" else {})
    config = runs / f"{name}.yaml"
    config.write_text(yaml.safe_dump(more))
    options = {"space": run.space, "data": data, "imgsz": run.imgsz, "budget": run.budget}
    options |= {"results": runs, "name": name, "sampler": sampler, "config": config}
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    # Each measures its layers itself: the second would find the first one's times in the cache.
    own = {**os.environ, "XDG_CACHE_HOME": str((runs / f"{name}.cache").resolve())}
    subprocess.run([sys.executable, "-m", "spnas", "search", *given], check=True, env=own)


def _copy(run: Path, target: Path, data: str) -> None:
    """Copy what is small; the configuration with the data's name in place of where it was."""
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (run / name).exists():
            shutil.copy(run / name, target / name)
    shutil.rmtree(target / "pareto", ignore_errors=True)
    shutil.copytree(run / "pareto", target / "pareto")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"data": data, "results": "results"}
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def baselines(path: Path, run: Run) -> pd.DataFrame:
    """Evaluate the uniform architectures as the confirmation evaluated the front, whatever their latency."""
    directory = RunDirectory.open(path)
    config = read_config(directory.config)[0]
    if directory.data.is_file():
        config = config.model_copy(update={"data": str(directory.data)})
    plan = make_plan(config)
    library = directory.library if directory.library.is_file() else None
    settings = plan.settings(directory.base_weights, library=library)
    evaluator = Evaluator(replace(settings, schedule=plan.confirm_schedule))
    space, rows = load_space(run.space), []
    for choice in space.uniform_choices():
        if choice == REGULAR:
            continue
        seen = [
            evaluator.confirm(space.uniform(choice), settings.seed + seed, latency=seed == SEEDS[0])
            for seed in SEEDS
        ]
        scores = {
            name: sum(one.scores[name] for one in seen) / len(seen) for name in seen[0].scores
        }
        first = seen[0]
        rows.append(
            {
                "uniform": str(choice),
                **{name: round(value, 4) for name, value in scores.items()},
                "latency_ratio": round(first.latency_ratio or 0.0, 4),
                "params": first.params,
                "macs": first.macs,
            }
        )
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def train(args: argparse.Namespace) -> None:
    """Train the base network and models of the front alike, each from the trained base's weights."""
    run, folder, rows = RUNS[args.name], PUBLISHED / args.name, []
    data = str(args.data / run.data)
    network = load_space(run.space).network
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "base.yaml"
        classes = check_data(network.kind, data).num_classes
        base.write_text(yaml.safe_dump(model_document(network, classes, Architecture())))
        for path in (base, *(folder / "pareto" / name for name in args.models)):
            done = train_model(
                path,
                data=data,
                epochs=args.epochs,
                imgsz=run.imgsz,
                weights=args.weights,
                output=Path(place) / path.stem,
            )
            scores = {name: round(value, 4) for name, value in done.scores.items()}
            rows.append({"model": path.stem, "epochs": args.epochs, **scores})
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(folder / "trained.csv", index=False)


def section() -> str:
    """Write README's section from the files."""
    parts = []
    for name, run in RUNS.items():
        if not (PUBLISHED / name).is_dir():
            continue
        found = Findings.read(name)
        machine = yaml.safe_load((PUBLISHED / name / "environment.json").read_text())
        rest = found.front[found.front.origin != "base"]
        where = machine["cpu"]
        if machine["device"] != "cpu":
            where = f"{machine['device']}, latency on one core of its machine's {machine['cpu']}"
        options = {"budget": run.budget, **run.options}
        given = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in options.items())
        parts.append(
            f"**{run.told}**, {run.imgsz} px, `{given}` on {where}, the base network's training "
            f"included. Accuracies are of the confirmation's short trainings, ± one standard deviation.\n\n"
            f"![front](results/published/{name}/front.png)\n\n{found.table()}\n\n"
            f"Hypervolume, as a share of the area from the base network down to half its accuracy: spnas "
            f"{found.volume(rest):.3f}, random search with the same budget {found.volume(found.random):.3f}, the "
            f"uniform networks {found.volume(found.uniform):.3f}.{found.fully_trained()}"
        )
    return "\n\n".join([START, *parts, END])


def readme(args: argparse.Namespace) -> None:
    path = ROOT / "README.md"
    text = path.read_text()
    before, after = text.partition(START)[0], text.partition(END)[2]
    written = before + section() + after
    if args.check:
        sys.exit(
            0
            if written == text
            else "README.md differs from results/published: run it without --check"
        )
    path.write_text(written)
    for name in RUNS:
        if (PUBLISHED / name).is_dir():
            Findings.read(name).draw(PUBLISHED / name / "front.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("search")
    sub.set_defaults(command=search)
    sub.add_argument("name", choices=RUNS)
    sub.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    sub.add_argument("--runs", type=Path, required=True, help="folder of the whole runs")
    sub = commands.add_parser("train")
    sub.set_defaults(command=train)
    sub.add_argument("name", choices=RUNS)
    sub.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    sub.add_argument("--weights", type=Path, required=True, help="of the trained base network")
    sub.add_argument("--models", nargs="+", required=True, help="files of the front")
    sub.add_argument("--epochs", type=int, default=40)
    sub = commands.add_parser("readme")
    sub.set_defaults(command=readme)
    sub.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
