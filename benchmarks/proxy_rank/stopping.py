"""What early stopping saves on real learning curves: those of the long trainings that proxies are compared with."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from proxies import TRUTH, draw_architectures

from spnas.latency import measure
from spnas.networks import apply_architecture, deploy_model
from spnas.runs.pareto import hypervolume
from spnas.search.environment import machine_line
from spnas.search.scheduler import make_rule
from spnas.spaces import load_space

ORDERS = 200  # in which the architectures are met, for each seed of the trainings
RULES = ("epsilon-net", "promise")
WORST_ACCURACY, WORST_RATIO = 0.5, 1.25  # of the base's

Curves = pd.DataFrame  # a row an architecture, a column an epoch


def write_stopping(args: argparse.Namespace) -> None:
    """Meet the architectures in many orders with each rule, and print what is spent and what front is found."""
    table = pd.read_csv(args.csv)
    truth = table[table.proxy == TRUTH]
    curves = {
        seed: part.pivot_table(index="architecture", columns="epochs", values="score")
        for seed, part in truth.groupby("seed")
    }
    ratios = latencies(args)
    final = sum(curve.iloc[:, -1] for curve in curves.values()) / len(curves)
    *rungs, epochs = next(iter(curves.values())).columns
    print(
        f"{len(final)} architectures of {args.space}, {epochs} epochs, rungs {', '.join(map(str, rungs))}; the "
        f"curves of {len(curves)} seeds, the architectures in {ORDERS} orders for each. Means; cost as a share of "
        "training all of them fully, hypervolume (by the mean of the seeds) as a share of that of all.\n"
    )
    print(
        "| scheduler | cost | hypervolume | without, at that cost | without, at twice that cost |"
    )
    print("|---|---|---|---|---|")
    for rule in RULES:
        rows = [
            _meet(curve, ratios, final, rule, np.random.default_rng([seed, order]))
            for seed, curve in curves.items()
            for order in range(ORDERS)
        ]
        cells = " | ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
        print(f"| {rule} | {cells} |")
    print(f"\n{machine_line(torch.device('cpu'))}")


def latencies(args: argparse.Namespace) -> pd.Series:
    """Measure each architecture's latency over the base's, once: what the csv beside the truth has is not measured."""
    path = Path(args.csv).with_name(f"{Path(args.csv).stem}_latency.csv")
    if not path.exists():
        space = load_space(args.space)
        base = space.network.build(space.network.default_classes).eval()
        deployed = deploy_model(base)
        example = torch.rand(space.network.latency_batch, 3, args.imgsz, args.imgsz)
        rows = []
        for number, architecture in enumerate(draw_architectures(space, args.architectures)):
            model = deploy_model(apply_architecture(copy.deepcopy(base), architecture))
            found = measure(model, deployed, example, device=torch.device("cpu"))
            rows.append((number, round(found.ratio, 4)))
        pd.DataFrame(rows, columns=["architecture", "ratio"]).to_csv(path, index=False)
    return pd.read_csv(path).set_index("architecture").ratio


def _meet(
    curve: Curves, ratios: pd.Series, final: pd.Series, name: str, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Meet all architectures in one order, the base first."""
    *rungs, epochs = curve.columns
    rule = make_rule(name, tuple(rungs))
    order = [0, *rng.permutation(np.arange(1, len(curve)))]
    spent, complete = 0, []
    for number in order:
        done = next(
            (
                rung
                for rung in rungs
                if not rule.goes_on(number, rung, curve.at[number, rung], ratios[number])
            ),
            epochs,
        )
        spent += done
        if done == epochs:
            rule.complete(number, curve.at[number, epochs], ratios[number])
            complete.append(number)
    trained = spent / epochs  # full trainings
    there = [_volume(order[: int(many)], ratios, final) for many in (trained, 2 * trained)]
    whole = _volume(order, ratios, final)
    return (
        trained / len(order),
        _volume(complete, ratios, final) / whole,
        *(volume / whole for volume in there),
    )


def _volume(numbers: Sequence[int], ratios: pd.Series, final: pd.Series) -> float:
    worst = WORST_ACCURACY * final[0]
    return hypervolume(list(final[numbers]), list(ratios[numbers]), (worst, WORST_RATIO))
