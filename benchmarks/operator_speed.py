"""How fast each operator is beside the plain 3x3 convolution it replaces, layer by layer.

Run `python benchmarks/operator_speed.py > benchmarks/results/operator_speed.md`; about 2 minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone

import torch
from torch import nn

from spnas import Choice, ConvSite, Host, __version__
from spnas.device import resolve_device
from spnas.latency import Measurement, measure
from spnas.operators import build_operator

SHAPES = [(64, 80), (64, 40), (128, 40), (128, 20), (256, 20)]
SPCONV, GHOST = ["spconv:0.5", "spconv:0.25", "spconv:0.125"], ["ghost:0.5", "ghost:0.25"]


def forms(channels: int) -> Iterator[tuple[str, nn.Module]]:
    """Yield the forms to measure by their column's name."""
    site = ConvSite("layer", channels, channels, 3)
    for text in SPCONV:
        operator = build_operator(Choice.parse(text), site, Host()).eval()
        yield f"{text} published", operator
        yield f"{text} deployed", operator.deploy()
    for text in GHOST:
        yield f"{text} deployed", build_operator(Choice.parse(text), site, Host()).eval().deploy()


def rows(device: torch.device, threads: int) -> Iterator[tuple[str, dict[str, Measurement]]]:
    for channels, size in SHAPES:
        torch.manual_seed(0)
        site = ConvSite("layer", channels, channels, 3)
        plain = build_operator(Choice("regular"), site, Host()).eval().deploy()
        image = torch.rand(1, channels, size, size)
        yield (
            f"{channels}, {size}",
            {
                name: measure(form, plain, image, device=device, threads=threads)
                for name, form in {"plain": plain, **dict(forms(channels))}.items()
            },
        )


def processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as lines:
            found = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        found = ""
    return found.partition(":")[2].strip() or platform.processor() or platform.machine()


def conditions(device: torch.device, threads: int, clock: str) -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{processor(device)}, {os.cpu_count()} cores, {threads} thread(s), device {device}; "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, spnas {__version__}; "
        f"clock of the ratios: {clock}; load average at the end (1, 5, 15 minutes): {load}; "
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = resolve_device(args.device)
    table = list(rows(device, args.threads))
    names = list(table[0][1])
    print("# Operators beside the plain 3x3 convolution\n")
    print(
        "Time of an operator over that of the plain 3x3 convolution with its BatchNorm folded, C -> C channels, stride "
        "1, batch 1, no activation; below 1 is faster. Each cell: median over the rounds of the paired ratio, ± its "
        "spread (1.4826 x MAD). `plain` is the plain convolution beside itself: how far it is from 1 is the error of "
        "the measurement. `published` is SPConv with its BatchNorms, `deployed` the form that spnas deploys.\n"
    )
    print("| C, H=W | plain, ms |", " | ".join(names), "|")
    print("|---" * (len(names) + 2) + "|")
    for shape, found in table:
        cells = [f"{value.ratio:.2f} ± {value.ratio_std:.2f}" for value in found.values()]
        print(f"| {shape} | {found['plain'].base_latency_ms:.2f} |", " | ".join(cells), "|")
    print(f"\n{conditions(device, args.threads, table[0][1]['plain'].clock)}")


if __name__ == "__main__":
    main()
