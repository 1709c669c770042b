"""Search problems whose true Pareto front is known: every architecture's accuracy and latency can be looked up."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sites39 import Sites39

from spnas.runs.pareto import hypervolume

DATA = Path(__file__).parents[3] / "shared" / "data" / "nas"

Params = Mapping[str, object]


@dataclass(frozen=True)
class Problem:
    """What a sampler may choose, and what comes of it.

    Attributes:
        name: Of the problem.
        choices: Of each site.
        latency: Gives the latencies of many architectures, ms, without training; infinite where there is no such
            network.
        accuracy: Gives the true accuracy of one.
        noise: Standard deviation of an observed accuracy.
        reference: Worst accuracy and latency that count for the hypervolume.
        true_hypervolume: Of the true front.
        prior: Score of each choice at each site, known before the search.
    """

    name: str
    choices: dict[str, list[object]]
    latency: Callable[[Sequence[Params]], np.ndarray]
    accuracy: Callable[[Params], float]
    reference: tuple[float, float]
    true_hypervolume: float
    noise: float = 0.0
    prior: dict[str, dict[object, float]] | None = field(default=None)

    def share(self, evaluated: Sequence[Params]) -> float:
        """Give the hypervolume of what was evaluated, by true accuracy, over that of the true front."""
        accuracy = [self.accuracy(params) for params in evaluated]
        latency = list(self.latency(evaluated))
        return hypervolume(accuracy, latency, self.reference) / self.true_hypervolume

    def draw(self, rng: random.Random) -> dict[str, object]:
        """Draw one architecture that there is, every one as likely as any other."""
        while True:
            params = {name: rng.choice(given) for name, given in self.choices.items()}
            if np.isfinite(self.latency([params])[0]):
                return params


def _table_problem(
    name: str, sites: pd.DataFrame, accuracy: pd.Series, latency: pd.Series, worst: float
) -> Problem:
    """Make a problem of a table with a row an architecture.

    Args:
        name: Of the problem.
        sites: A column a site.
        accuracy: Of each row.
        latency: Of each row, ms.
        worst: Quantile of the accuracy that is the worst that counts. That of latency is its 90th percentile.
    """
    figures = dict(
        zip(
            sites.itertuples(index=False, name=None),
            zip(accuracy, latency, strict=True),
            strict=True,
        )
    )
    names = list(sites.columns)
    reference = (float(accuracy.quantile(worst)), float(latency.quantile(0.9)))

    def look_up(params: Params) -> tuple[float, float]:
        return figures.get(tuple(params[n] for n in names), (float("nan"), float("inf")))

    return Problem(
        name=name,
        choices={n: sorted(sites[n].unique().tolist()) for n in names},
        latency=lambda many: np.array([look_up(params)[1] for params in many]),
        accuracy=lambda params: look_up(params)[0],
        reference=reference,
        true_hypervolume=hypervolume(list(accuracy), list(latency), reference),
    )


def nas_bench_201(device: str) -> Problem:
    """NAS-Bench-201: 6 edges of a cell x 5 operators, CIFAR-100 accuracy, latency measured on a device."""
    table = pd.read_csv(DATA / "nb201.csv")
    edges = table.arch.str.findall(r"([a-z0-9_]+)~").tolist()
    sites = pd.DataFrame(edges, columns=[f"edge{i}" for i in range(6)])
    latency = table[{"titan": "latency_titan_rtx_b1_ms", "pixel3": "latency_pixel3_ms"}[device]]
    return _table_problem(f"nb201-{device}", sites, table.acc_cifar100_val, latency, worst=0.5)


def yolobench(device: str) -> Problem:
    """YOLOBench: 968 detectors of 8 families x 3 depths x 4 widths x 11 image sizes, VOC mAP50-95, measured latency."""
    table = pd.read_csv(DATA / "yolobench.csv")
    latency = table[{"a40": "latency_a40_trt_ms", "pi4": "latency_pi4_ort_ms"}[device]]
    sites = table[["family", "depth", "width", "res"]]
    return _table_problem(f"yolobench-{device}", sites, table.map50_95_voc, latency, worst=0.1)


def sites39(instance: int, prior: str) -> Problem:
    """The synthetic problem of `sites39.py`, one instance a seed.

    Args:
        instance: Number that the instance is drawn with.
        prior: `none`, `noise` (scores that tell nothing), or `rank.75` (scores of that rank correlation with the
            truth).
    """
    made = Sites39(instance)
    name = "sites39" if prior == "none" else f"sites39-{prior}"
    scores = {"none": None, "noise": 0.0, "rank.75": 0.75}[prior]
    return Problem(
        name=name,
        choices=made.choices,
        latency=made.latency,
        accuracy=lambda params: float(made.accuracy([params])[0]),
        reference=made.reference,
        true_hypervolume=made.true_hypervolume(),
        noise=made.noise,
        prior=None if scores is None else made.scores(scores),
    )


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "nb201-titan": lambda _: _titan(),
    "nb201-pixel3": lambda _: _pixel3(),
    "yolobench-a40": lambda _: _a40(),
    "yolobench-pi4": lambda _: _pi4(),
    "sites39": lambda seed: sites39(seed, "none"),
    "sites39-rank.75": lambda seed: sites39(seed, "rank.75"),
    "sites39-noise": lambda seed: sites39(seed, "noise"),
}
"""Problems by name; a function of the seed."""

_titan = cache(lambda: nas_bench_201("titan"))
_pixel3 = cache(lambda: nas_bench_201("pixel3"))
_a40 = cache(lambda: yolobench("a40"))
_pi4 = cache(lambda: yolobench("pi4"))
