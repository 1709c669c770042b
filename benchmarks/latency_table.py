"""How well the latency table foretells what whole networks take.

Random architectures are measured end to end beside their base network, and foretold from the table of their layers: by
the plain sum, and by the sum corrected with the architectures measured before.

Run `python benchmarks/latency_table.py --space yolov8n --imgsz 320`; some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import random
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from spnas import Architecture, SearchSpace, load_space
from spnas.device import resolve_device
from spnas.latency import LayerTimer, build_table, choose_forms, measure
from spnas.networks import apply_architecture, deploy_model
from spnas.search.environment import machine_line

FIT = (6, 12, 24)  # how many measured architectures the correction learns from


def draw(space: SearchSpace, count: int) -> list[Architecture]:
    """Draw architectures of every depth: a random share of the sites is replaced, by random choices."""
    rng = random.Random(0)
    drawn = []
    for _ in range(count):
        share = rng.random()
        values = {
            name: rng.choice(given) if rng.random() < share else given[0]
            for name, given in space.variables.items()
        }
        drawn.append(space.expand(values))
    return drawn


def quality(foretold: NDArray[np.float64], measured: NDArray[np.float64]) -> str:
    rank = spearmanr(foretold, measured).statistic
    errors = np.abs(foretold / measured - 1)
    return f"{rank:.3f} | {100 * np.median(errors):.1f} | {100 * np.quantile(errors, 0.9):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="yolov8n")
    parser.add_argument("--imgsz", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runtime")
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    device, space = resolve_device(args.device), load_space(args.space)
    imgsz = args.imgsz or space.network.default_imgsz
    timer = LayerTimer(device, runtime=args.runtime)
    base = space.network.build().eval()
    deployed = deploy_model(base)
    example = torch.rand(space.network.latency_batch, 3, imgsz, imgsz)
    base_s = timer.take({"base": deployed}, example.shape)["base"]
    table = build_table(base, space.choices, example, timer, base_s=base_s)

    def measured_ratio(architecture: Architecture) -> float:
        model = apply_architecture(copy.deepcopy(base), architecture)
        choose_forms(model, example, timer)
        return measure(
            deploy_model(model), deployed, example, device=device, runtime=timer.runtime
        ).ratio

    architectures = draw(space, args.count)
    ratios = np.array([measured_ratio(architecture) for architecture in architectures])
    print(
        f"\n## {space.name}, {imgsz} px, batch {len(example)}, {timer.runtime}\n\n"
        f"{args.count} architectures, measured ratio {ratios.min():.3f} to {ratios.max():.3f}.\n\n"
        "| foretold by | on architectures | Spearman | median error, % | 90th percentile, % |\n|---|---|---|---|---|"
    )
    print(f"| sum | {args.count} | {quality(table.ratios(architectures), ratios)} |")
    for known in FIT:
        fitted = table.fitted(architectures[:known], ratios[:known].tolist())
        rest = fitted.ratios(architectures[known:])
        row = quality(rest, ratios[known:])
        print(f"| sum, corrected by {known} measured | {args.count - known} others | {row} |")
    print(f"\n{machine_line(device)}")


if __name__ == "__main__":
    main()
