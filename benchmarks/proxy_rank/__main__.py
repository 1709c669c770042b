"""Which proxy ranks architectures as a long training does, and at what cost.

`python benchmarks/proxy_rank run --space yolov8n --data bccd/data.yaml` trains architectures drawn over the whole space
long, twice, and lets every proxy judge them; each judgement is a line of a csv, and what the csv has is not done again.
`python benchmarks/proxy_rank report --space yolov8n` makes a table and a plot of it; `stopping` tells what stopping
trials early saves on the long trainings' curves.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from judge import Job, Options, judge, open_setting
from proxies import LIBRARIES, PROXIES, TRUTH, Setting, build_libraries, library_file
from report import write_report
from stopping import write_stopping

from spnas.spaces import load_space
from spnas.tasks import open_task
from spnas.training import base_schedule, train

RESULTS = Path(__file__).parents[1] / "results"
# The seeds of the truth are its noise ceiling; the proxies have another one.
PLAN = (
    *(("inherit", epochs, 0) for epochs in (0, 1, 2, 4)),
    *((name, epochs, 0) for epochs in (0, 1, 2) for name in LIBRARIES),
    *((f"sensitivity{of}", 0, 0) for of in ("", *(f" of {name}" for name in LIBRARIES))),
    ("squared sensitivity of fitted", 0, 0),
    *((f"{name} of fitted", 0, 0) for name in ("single losses", "roots of single losses")),
    *((name, 0, 0) for name in ("synflow", "params", "macs")),
    *((TRUTH, 0, seed) for seed in (1, 2)),
    ("scratch", 8, 0),
)
COLUMNS = ("architecture", "arch_id", "proxy", "length", "seed", "epochs", "score", "cpu_s")


def _left(args: argparse.Namespace, plan: tuple[tuple[str, int, int], ...]) -> Iterator[Job]:
    done = set()
    if args.csv.exists():
        table = pd.read_csv(args.csv)
        columns = [table[name] for name in Job._fields]
        done = set(zip(*columns, strict=True))
    for proxy, length, seed in plan:
        for number in range(args.architectures):
            if (number, proxy, length, seed) not in done:
                yield Job(number, proxy, length, seed)


def prepare(args: argparse.Namespace) -> None:
    """Train the base network as a search does and build the libraries, where their files are not there."""
    torch.set_num_threads(1)
    space = load_space(args.space)
    kind = space.network.kind
    task = open_task(kind, args.data, imgsz=args.imgsz, device=torch.device("cpu"))
    if not args.weights.exists():
        torch.manual_seed(0)
        model = space.network.build(task.num_classes)
        result = train(model, task, base_schedule(kind), seed=0)
        torch.save(model.state_dict(), args.weights)
        print(f"base network: {result.score.values}", flush=True)
    if not all(library_file(args.weights, name).exists() for name in LIBRARIES):
        setting = Setting(space, task, str(args.weights), args.truth_epochs)
        seconds = build_libraries(setting)
        args.csv.with_suffix(".json").write_text(json.dumps(seconds) + "\n")
        print(f"libraries, CPU seconds: {seconds}", flush=True)


def run(args: argparse.Namespace) -> None:
    prepare(args)
    chosen = tuple(item for item in PLAN if args.only is None or item[0] in args.only)
    if args.longer:
        chosen = ((TRUTH, args.longer, 1),)
    jobs = list(_left(args, chosen))
    options = Options(
        args.space, args.data, args.imgsz, str(args.weights), args.truth_epochs, args.nice
    )
    processes = {"max_workers": args.processes, "mp_context": get_context("spawn")}
    with ProcessPoolExecutor(**processes, initializer=open_setting, initargs=(options,)) as pool:
        judged = {pool.submit(judge, job): job for job in jobs}
        for number, future in enumerate(as_completed(judged), start=1):
            frame = pd.DataFrame(future.result(), columns=COLUMNS)
            frame.to_csv(args.csv, mode="a", header=not args.csv.exists(), index=False)
            said = frame.score.iloc[-1]
            print(f"{number} of {len(jobs)}: {tuple(judged[future])} {said:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    chosen = {"run": run, "report": write_report, "stopping": write_stopping}
    for name, command in chosen.items():
        sub = commands.add_parser(name)
        sub.set_defaults(command=command)
        sub.add_argument("--space", required=True)
        sub.add_argument("--csv", type=Path, help="default: results/proxy_rank_SPACE.csv")
        if name != "report":
            sub.add_argument("--imgsz", type=int, default=160)
            sub.add_argument("--architectures", type=int, default=25)
        if name == "stopping":
            sub.add_argument(
                "--trials",
                type=Path,
                help="a run whose trials take the place of the long trainings",
            )
        if name == "run":
            sub.add_argument("--data", required=True)
            sub.add_argument(
                "--weights", type=Path, required=True, help="of the base; made if missing"
            )
            sub.add_argument("--truth-epochs", type=int, default=20)
            sub.add_argument("--longer", type=int, help="only this: so many epochs of the truth")
            sub.add_argument("--only", nargs="+", choices=PROXIES)
            sub.add_argument("--processes", type=int, default=os.cpu_count())
            sub.add_argument("--nice", type=int, default=0)
    args = parser.parse_args()
    args.csv = args.csv or RESULTS / f"proxy_rank_{Path(args.space).stem}.csv"
    args.command(args)


if __name__ == "__main__":
    main()
