"""How fast each operator is, deployed, beside the plain convolution it replaces, and how many MACs it has beside it.

Run `python benchmarks/operators.py > benchmarks/results/operators.md`; about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

from torch import nn

from spnas import Choice, ConvSite, Host, Operator
from spnas.device import resolve_device
from spnas.latency import LayerTimer, count, runtime_names
from spnas.operators import build_operator, refusal
from spnas.search.environment import machine_line

# Layers as `Cin, Cout, input size, stride`: 3x3 convolutions of YOLOv8n at 640 px, of ResNet-50 at 224 px, and the
# squares that SPConv is judged by.
YOLO = [(16, 32, 320, 2), (16, 16, 160, 1), (32, 32, 80, 1), (64, 64, 80, 1), (64, 128, 80, 2)]
RESNET = [(64, 64, 56, 1), (128, 128, 28, 1), (256, 256, 14, 1), (512, 512, 7, 1)]
SQUARES = [(128, 128, 40, 1), (128, 128, 20, 1), (256, 256, 40, 1), (256, 256, 20, 1)]
LAYERS = {1: YOLO + RESNET + SQUARES, 32: [(64, 64, 40, 1), *RESNET[2:], *SQUARES[1::2]]}
CHOICES = (
    *("spconv:0.5", "spconv:0.25", "spconv:0.125", "ghost:0.5", "ghost:0.25", "dualconv:0.25"),
    *("hetconv:0.25", "dwsep", "pconv:0.25", "octconv:alpha=0.5", "hwd", "repconv"),
    *("ldconv:points=5", "gam:reduction=4", "senetv2:reduction=4", "mdcr", "rcs-osa"),
)
PUBLISHED = CHOICES[:3]  # also measured as published, their BatchNorms kept
HOST = Host(nn.SiLU(), bn_eps=1e-3)
Layer = tuple[int, int, int, int]


def title(layer: Layer) -> str:
    c_in, c_out, size, stride = layer
    channels = str(c_in) if c_in == c_out else f"{c_in} to {c_out}"
    return f"{channels}, {size} px" + (f", stride {stride}" if stride > 1 else "")


def operators(layer: Layer) -> dict[str, Operator]:
    c_in, c_out, _, stride = layer
    site = ConvSite("layer", c_in, c_out, 3, stride)
    choices = [(text, Choice.parse(text)) for text in ("regular", *CHOICES)]
    return {
        text: build_operator(choice, site, HOST).eval()
        for text, choice in choices
        if refusal(choice, site) is None
    }


def modules(made: dict[str, Operator], shape: Sequence[int]) -> dict[tuple[str, str], nn.Module]:
    """Give what is timed, by row and form, the plain convolution first."""
    found: dict[tuple[str, str], nn.Module] = {}
    for text, operator in made.items():
        for form in operator.forms(shape):
            operator.form = form
            found[text, form] = operator.deploy()
        if text in PUBLISHED:
            found[f"{text}, as published", ""] = operator
    return found


def column(layer: Layer, batch: int, timer: LayerTimer) -> dict[str, str]:
    """Measure a layer with every operator: by row the ratio of latencies, of MACs, and the form."""
    c_in, _, size, _ = layer
    shape = (batch, c_in, size, size)
    made = operators(layer)
    macs = {text: count(operator, size, c_in).macs for text, operator in made.items()}
    named = {f"{row}|{form}": module for (row, form), module in modules(made, shape).items()}
    seconds = timer.take(named, shape)
    rows: dict[str, dict[str, float]] = {}
    for name, value in seconds.items():
        row, _, form = name.partition("|")
        rows.setdefault(row, {})[form] = value
    plain = rows.pop("regular")["default"]
    cells = {"plain, ms": f"{1e3 * plain:.2f}"}
    for row, forms in rows.items():
        fastest = min(forms, key=forms.__getitem__)
        told = f" {fastest}" if len(forms) > 1 else ""
        share = macs[row.partition(",")[0]] / macs["regular"]
        cells[row] = f"{forms[fastest] / plain:.2f} / {share:.2f}{told}"
    return cells


def print_table(batch: int, timer: LayerTimer) -> None:
    print(f"\n## {timer.runtime}, batch {batch}\n")
    columns = {title(layer): column(layer, batch, timer) for layer in LAYERS[batch]}
    names = list(dict.fromkeys(name for cells in columns.values() for name in cells))
    print("|", " | ".join(["", *columns]), "|")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        print(f"| {name} |", " | ".join(cells.get(name, "") for cells in columns.values()), "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtimes", nargs="+", choices=runtime_names())
    parser.add_argument("--batches", type=int, nargs="+", choices=list(LAYERS), default=[*LAYERS])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    device = resolve_device(args.device)
    on_gpu = ["torch", *(name for name in runtime_names() if name == "cuda-graph")]
    print("# Operators beside the plain 3x3 convolution\n")
    print(
        "Each cell: latency of the operator's fastest deployed form over that of the plain convolution with its "
        "BatchNorm folded / its MACs over the plain convolution's, and which form that was where there are several. "
        "Median over 9 rounds of the paired ratio, all forms in turn; SiLU after each layer. Empty: the operator does "
        "not take the layer. `as published` is SPConv with its BatchNorms, call by call."
    )
    for runtime in args.runtimes or (on_gpu if device.type == "cuda" else ["onnxruntime", "torch"]):
        for batch in args.batches:
            print_table(batch, LayerTimer(device, runtime=runtime, threads=args.threads))
    print(f"\n{machine_line(device, args.threads)}")


if __name__ == "__main__":
    main()
