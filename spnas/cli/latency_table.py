"""`spnas latency-table`: what every choice of a search space takes at every site."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spnas.architecture import REGULAR, Choice
from spnas.cli.options import DEVICE_HELP, RUNTIME_HELP, check_numbers

if TYPE_CHECKING:
    from spnas.latency import LatencyTable, LayerTimes
    from spnas.spaces import SearchSpace


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "latency-table",
        help="measure every choice of a search space, layer by layer",
        description=(
            "Measures each distinct layer of a search space once, with every choice and in every deployed form, beside "
            "the plain convolution, and prints the ratios. What was measured before is taken from the cache. A search "
            "reads the same measurements."
        ),
        usage="spnas latency-table --space SPACE [options]",
        examples=("spnas latency-table --space yolov8n --imgsz 320",),
    )
    parser.add_argument("--space", required=True, help="a shipped space's name, or a space's file")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--imgsz", type=int, help="image size in pixels; default: the network's")
    parser.add_argument("--batch", type=int, help="images of a forward; default: the network's own")
    parser.add_argument("--runtime", help=RUNTIME_HELP)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--json", action="store_true", help="print JSON, a row a site and choice")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from spnas.device import resolve_device
    from spnas.latency import LayerTimer, build_table, device_lock
    from spnas.networks import deploy_model
    from spnas.spaces import load_space

    space = load_space(args.space)
    device = resolve_device(args.device)
    imgsz = space.network.default_imgsz if args.imgsz is None else args.imgsz
    batch = space.network.latency_batch if args.batch is None else args.batch
    check_numbers(imgsz=imgsz, batch=batch, threads=args.threads)
    space.network.check_imgsz(imgsz)
    timer = LayerTimer(
        device,
        runtime=args.runtime,
        threads=args.threads,
        exclusive=device_lock(device).exclusive,
    )
    base = space.network.build().eval()
    shape = (batch, 3, imgsz, imgsz)
    base_s = timer.take({"base": deploy_model(base)}, shape)["base"]
    example = torch.rand(shape)
    table = build_table(base, space.choices, example, timer, base_s=base_s, progress=_tell)
    if args.json:
        print(json.dumps(list(_rows(table)), indent=2))
    else:
        _print(space, table, f"{device}, batch {batch}, {imgsz} px, runtime {timer.runtime}")
    return 0


def _tell(done: int, total: int) -> None:
    """Follow the measuring where someone looks on."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} sites", end=end, file=sys.stderr, flush=True)


def _rows(table: LatencyTable) -> Iterator[dict[str, Any]]:
    for site, times in table.times.items():
        for choice, layer in times.items():
            yield {
                "site": site,
                "choice": str(choice),
                "latency_ms": 1e3 * layer.seconds,
                "plain_ms": 1e3 * layer.plain_s,
                "ratio": layer.seconds / layer.plain_s,
                "added": table.added(site, choice) / table.base_s,
                "form": layer.form,
            }


def _print(space: SearchSpace, table: LatencyTable, conditions: str) -> None:
    from rich.console import Console
    from rich.table import Table

    choices = [choice for choice in space.uniform_choices() if choice != REGULAR]
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    shown.add_column("first site", no_wrap=True)
    shown.add_column("n", justify="right")
    shown.add_column("plain ms", justify="right")
    for choice in choices:
        shown.add_column(str(choice).replace(":", " "), justify="right")  # breaks where it must
    for names, times in _alike(table):
        plain = next(iter(times.values())).plain_s
        cells = [
            f"{times[choice].seconds / times[choice].plain_s:.2f}" if choice in times else ""
            for choice in choices
        ]
        shown.add_row(names[0], str(len(names)), f"{1e3 * plain:.3f}", *cells)
    console = Console(highlight=False, markup=False)
    console.print(f"{space.name}: latency of each choice over the plain convolution's\n")
    console.print(shown)
    console.print(
        f"\n{conditions}\nbase network {1e3 * table.base_s:.2f} ms; n: sites with the same layer"
    )


def _alike(table: LatencyTable) -> Iterator[tuple[list[str], Mapping[Choice, LayerTimes]]]:
    """Group the sites that hold the same layer: the timer gives those the same measurements."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for site, times in table.times.items():
        groups.setdefault(tuple(id(layer) for layer in times.values()), []).append(site)
    for names in groups.values():
        yield names, table.times[names[0]]
