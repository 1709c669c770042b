"""What operators start from: their error to the convolution they replace, and what architectures score with it.

Run `python benchmarks/starting_weights.py --space yolov8n --data DATA.yaml --imgsz 160`, and the same for
`resnet20-cifar`; with `--weights` the base network is not trained first. Ten to twenty minutes on one core.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone

import torch
from torch import nn

from spnas import Architecture, Choice
from spnas.device import device_name
from spnas.networks import apply_architecture, load_base_weights
from spnas.networks.sites import find_slots
from spnas.operators import refusal
from spnas.spaces import SearchSpace, load_space
from spnas.tasks import Task, open_task
from spnas.training import Library, base_schedule, build_library, proxy_schedule, score_model, train
from spnas.training.fitting import output_error, record_inputs, start_operator

OPERATORS = (
    *("ghost:0.5", "ghost:0.25", "spconv:0.5", "spconv:0.25", "spconv:0.125", "dualconv:0.25"),
    *("hetconv:0.25", "dwsep", "pconv:0.25", "hwd", "octconv:alpha=0.5", "repconv"),
)
UNIFORM = ("ghost:0.5", "spconv:0.5", "spconv:0.25")
STARTS = {"weights": None, "fitted": 0, "library": 1}  # passes of training


@torch.no_grad()
def print_errors(base: nn.Module, task: Task) -> None:
    """Print each operator's squared error over the output's variance, the median over the sites that take it."""
    base = copy.deepcopy(base).eval()
    slots = [slot for slot in find_slots(base) if slot.site.in_channels > 3]
    seen, unseen = (record_inputs(base, slots, task.calibration_images(96, s)) for s in (0, 1))
    print("| operator | sites | inherited | fitted | fitted, the images it was fitted on |")
    print("|---|---|---|---|---|")
    for text in OPERATORS:
        choice = Choice.parse(text)
        rows = []
        for slot in slots:
            if refusal(choice, slot.site) is None:
                read, unread = seen[slot.site.name], unseen[slot.site.name]
                inherited, fitted = start_operator(slot, choice), start_operator(slot, choice)
                inherited.inherit(slot.conv, slot.bn)
                fitted.fit(slot.conv, slot.bn, read)
                pairs = ((inherited, unread), (fitted, unread), (fitted, read))
                rows.append([float(output_error(operator, slot, x)) for operator, x in pairs])
        medians = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"| `{text}` | {len(rows)} |", " | ".join(f"{m:.3f}" for m in medians), "|", flush=True
        )


def architectures(space: SearchSpace) -> Iterator[tuple[str, Architecture]]:
    """Give uniform and random architectures."""
    for text in UNIFORM:
        choice = Choice.parse(text)
        yield text, Architecture({s: choice for s, of in space.choices.items() if choice in of})
    for seed in range(3):
        draw = random.Random(seed)
        yield (
            f"random {seed}",
            Architecture({s: draw.choice(of) for s, of in space.choices.items()}),
        )


def print_trials(base: nn.Module, task: Task, space: SearchSpace) -> None:
    """Print what architectures score before and after each epoch of the proxy training."""
    made = list(architectures(space))
    print(f"\n| start | CPU-s | {' | '.join(name for name, _ in made)} |")
    print("|---" * (len(made) + 2) + "|")
    for start, passes in STARTS.items():
        began = time.process_time()
        library = Library({})
        if passes is not None:
            library = build_library(base, space.choices, task, seed=0, passes=passes) or library
        cost = time.process_time() - began
        scores = [trial(base, task, architecture, library) for _, architecture in made]
        cells = (", ".join(f"{value:.3f}" for value in values) for values in scores)
        print(f"| {start} | {cost:.0f} |", " | ".join(cells), "|", flush=True)


def trial(base: nn.Module, task: Task, architecture: Architecture, library: Library) -> list[float]:
    torch.manual_seed(0)
    model = apply_architecture(copy.deepcopy(base), architecture)
    library.load_into(model, architecture)
    schedule = proxy_schedule(task.kind)
    scores = [score_model(copy.deepcopy(model), task, schedule.calibration).value]
    train(model, task, schedule, seed=0, report=lambda r: scores.append(r.score.value) or True)  # type: ignore[func-returns-value]
    return scores


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
    print_trials(base, task, space)
    print(f"\n{device_name(device)}, one thread, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC.")


if __name__ == "__main__":
    main()
