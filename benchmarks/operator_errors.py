"""How near operators begin to the convolution they replace, with inherited weights and fitted.

Run `python benchmarks/operator_errors.py --space yolov8n --data DATA.yaml --imgsz 160`, and the same for
`resnet20-cifar`; with `--weights` the base network is not trained first. Two minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings

import torch
from torch import nn

from spnas import Choice
from spnas.networks import load_base_weights
from spnas.networks.sites import find_slots
from spnas.operators import refusal
from spnas.search.environment import machine_line
from spnas.spaces import load_space
from spnas.tasks import Task, open_task
from spnas.training import base_schedule, train
from spnas.training.fitting import output_error, record_inputs, start_operator

OPERATORS = (
    *("ghost:0.5", "ghost:0.25", "spconv:0.5", "spconv:0.25", "spconv:0.125", "dualconv:0.25"),
    *("hetconv:0.25", "dwsep", "pconv:0.25", "hwd", "octconv:alpha=0.5", "repconv"),
)


@torch.no_grad()
def print_errors(base: nn.Module, task: Task) -> None:
    """Print each operator's squared error over the output's variance, the median over the sites that take it."""
    base = copy.deepcopy(base).eval()
    slots = [slot for slot in find_slots(base) if slot.site.in_channels > 3]
    seen, unseen = (record_inputs(base, slots, task.calibration_images(96, s)) for s in (0, 1))
    print("| operator | sites | inherited | fitted | fitted, the images it was fitted on | CPU-s |")
    print("|---|---|---|---|---|---|")
    for text in OPERATORS:
        choice = Choice.parse(text)
        rows, seconds = [], 0.0
        for slot in slots:
            if refusal(choice, slot.site) is None:
                read, unread = seen[slot.site.name], unseen[slot.site.name]
                inherited, fitted = start_operator(slot, choice), start_operator(slot, choice)
                inherited.inherit(slot.conv, slot.bn)
                began = time.process_time()
                fitted.fit(slot.conv, slot.bn, read)
                seconds += time.process_time() - began
                pairs = ((inherited, unread), (fitted, unread), (fitted, read))
                rows.append([float(output_error(operator, slot, x)) for operator, x in pairs])
        medians = (statistics.median(column) for column in zip(*rows, strict=True))
        cells = " | ".join(f"{median:.3f}" for median in medians)
        print(f"| `{text}` | {len(rows)} | {cells} | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", required=True)
    parser.add_argument("--data")
    parser.add_argument("--imgsz", type=int, required=True)
    parser.add_argument("--weights")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    space, device = load_space(args.space), torch.device("cpu")
    kind = space.network.kind
    task = open_task(kind, args.data, imgsz=args.imgsz, device=device)
    base = space.network.build(task.num_classes)
    task.attach(base)
    if args.weights:
        load_base_weights(base, args.weights)
    else:
        train(base, task, base_schedule(kind), seed=0)
    score = task.evaluate(base.eval()).value
    print(f"\n## {space.name}, {args.imgsz} px: base {task.metric} {score:.3f}\n")
    print_errors(base, task)
    print(f"\n{machine_line(device)}")


if __name__ == "__main__":
    main()
