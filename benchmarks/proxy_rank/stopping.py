"""What early stopping saves on real learning curves: the proxies' ground truth's, or those of a search without it."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from proxies import TRUTH, draw_architectures

from spnas.latency import measure
from spnas.networks import apply_architecture, deploy_model
from spnas.runs.pareto import hypervolume
from spnas.runs.table import read_trials, table_columns
from spnas.search.environment import machine_line
from spnas.search.scheduler import make_rule
from spnas.spaces import load_space

ORDERS = 200  # in which the architectures are met, for each seed of the trainings
RULES = ("epsilon-net", "promise")
_WORST_ACCURACY = 0.5  # of the base's

Curves = pd.DataFrame  # a row an architecture, a column an epoch


@dataclass(frozen=True)
class Setting:
    """Architectures that were all trained to the end.

    Attributes:
        curves: By seed.
        ratios: Latency over the base's, by architecture; the base is number 0.
        worst_ratio: At which the hypervolume's area ends.
        fixed: What a trial costs beside its epochs, in epochs.
    """

    curves: dict[int, Curves]
    ratios: pd.Series
    worst_ratio: float
    fixed: float = 0.0

    @property
    def final(self) -> pd.Series:
        """The accuracies at the end, means over the seeds."""
        return sum(curve.iloc[:, -1] for curve in self.curves.values()) / len(self.curves)


def of_truth(args: argparse.Namespace) -> Setting:
    """Take the long trainings."""
    table = pd.read_csv(args.csv)
    truth = table[table.proxy == TRUTH]
    curves = {
        seed: part.pivot_table(index="architecture", columns="epochs", values="score")
        for seed, part in truth.groupby("seed")
    }
    return Setting(curves, latencies(args), 1.25)


def of_run(run: Path) -> Setting:
    """Take the complete trials of a search, with what they cost there."""
    trials = read_trials(run / "trials.csv")
    metric = table_columns(trials).metric
    trials = trials[trials.state == "complete"].set_index("trial").sort_index()
    rungs = pd.read_csv(run / "rungs.csv")
    curve = rungs.pivot_table(index="trial", columns="epochs", values=metric).loc[trials.index]
    epochs = int(trials.epochs.max())
    curve[epochs] = trials[metric]
    an_epoch = (trials.train_s / trials.epochs).median()
    fixed = (trials.device_s - trials.train_s).median() / an_epoch
    curve.index = trials.index = range(len(trials))
    return Setting({0: curve}, trials.latency_ratio, 1.0, fixed)


def write_stopping(args: argparse.Namespace) -> None:
    """Meet the architectures in many orders with each rule, and print what is spent and what front is found."""
    setting = of_run(args.trials) if args.trials else of_truth(args)
    curves = setting.curves
    *rungs, epochs = next(iter(curves.values())).columns
    print(
        f"{len(setting.final)} architectures of {args.space}, {epochs} epochs, rungs {', '.join(map(str, rungs))}; the "
        f"curves of {len(curves)} seeds, the architectures in {ORDERS} orders for each. Means; cost as a share of "
        f"training all of them fully (a trial costs as much as {setting.fixed:.1f} epochs beside them), hypervolume "
        "(by the mean of the seeds) as a share of that of all.\n"
    )
    print(
        "| scheduler | cost | hypervolume | without, at that cost | without, at twice that cost |"
    )
    print("|---|---|---|---|---|")
    for rule in RULES:
        rows = [
            _meet(setting, curve, rule, np.random.default_rng([seed, order]))
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
    setting: Setting, curve: Curves, name: str, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Meet all architectures in one order, the base first."""
    ratios = setting.ratios
    *rungs, epochs = curve.columns
    rule = make_rule(name, tuple(rungs))
    order = [0, *rng.permutation(np.arange(1, len(curve)))]
    spent, complete = 0.0, []
    for number in order:
        done = next(
            (
                rung
                for rung in rungs
                if not rule.goes_on(number, rung, curve.at[number, rung], ratios[number])
            ),
            epochs,
        )
        spent += setting.fixed + done
        if done == epochs:
            rule.complete(number, curve.at[number, epochs], ratios[number])
            complete.append(number)
    trained = spent / (setting.fixed + epochs)  # full trainings
    there = [_volume(order[: int(many)], setting) for many in (trained, 2 * trained)]
    whole = _volume(order, setting)
    return (
        trained / len(order),
        _volume(complete, setting) / whole,
        *(volume / whole for volume in there),
    )


def _volume(numbers: Sequence[int], setting: Setting) -> float:
    final, worst = setting.final, _WORST_ACCURACY * setting.final[0]
    ratios = setting.ratios[numbers]
    return hypervolume(list(final[numbers]), list(ratios), (worst, setting.worst_ratio))
