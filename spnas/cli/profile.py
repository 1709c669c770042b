"""`spnas profile`: size and latency of one model beside its base network."""

from __future__ import annotations

import argparse
import copy
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas.cli.options import DEVICE_HELP, RUNTIME_HELP, check_numbers
from spnas.errors import ConfigError, SpnasError
from spnas.names import counted

if TYPE_CHECKING:
    from torch import nn

    from spnas.latency import Counts, Measurement
    from spnas.networks.document import ModelDocument

# Images to take BatchNorm statistics of: from fewer, some networks amplify rounding until half precision gives noise.
_STATISTICS = 8

# In double precision rounding stays below 1e-11 in all our networks; a form that is wrong is off by far more.
_TOLERANCE = 1e-6


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "profile",
        help="count and measure one model beside its base network",
        usage="spnas profile (MODEL | --space SPACE [--uniform CHOICE]) [options]",
        description=(
            "Prints parameters and MACs (of the training form, counted by thop), peak memory of a forward and latency "
            "of the deployed form, measured beside the base network's in one session, with the ratio and the spreads. "
            "Weights are fresh: latency does not depend on them. Before that it checks that the deployed form computes "
            "what the training form computes."
        ),
        examples=(
            "spnas profile results/RUN/pareto/03-1a2b3c4d.yaml",
            "spnas profile --space yolov8n --uniform spconv:0.5 --imgsz 320",
        ),
    )
    parser.add_argument(
        "model", nargs="?", type=Path, metavar="MODEL", help="a model yaml, such as one of a front"
    )
    parser.add_argument("--space", help="instead: a shipped space's name, or a yaml file")
    parser.add_argument(
        "--uniform",
        metavar="CHOICE",
        help="with --space: a choice at every site that offers it; default: the base network",
    )
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--imgsz", type=int, help="image size in pixels; default: the model's")
    parser.add_argument("--batch", type=int, help="images of a forward; default: the network's own")
    parser.add_argument("--runtime", help=RUNTIME_HELP)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Check, count, measure and print."""
    from spnas.device import resolve_device
    from spnas.latency import (
        LayerTimer,
        choose_forms,
        count,
        device_lock,
        measure,
        peak_memory_mb,
    )
    from spnas.latency.images import smooth_images
    from spnas.networks import deploy_model

    document, size = _subject(args)
    device = resolve_device(args.device)
    imgsz = size if args.imgsz is None else args.imgsz
    batch = document.network.latency_batch if args.batch is None else args.batch
    check_numbers(imgsz=imgsz, batch=batch, threads=args.threads)
    document.network.check_imgsz(imgsz)
    lock = device_lock(device).exclusive
    timer = LayerTimer(device, runtime=args.runtime, threads=args.threads, exclusive=lock)
    models = _build(document, imgsz)
    forms = choose_forms(models[0], smooth_images(imgsz, batch), timer)
    error = max(_check_form(model, imgsz) for model in models)
    own, base = (deploy_model(model) for model in models)
    counts = [count(model, imgsz) for model in models]
    image = smooth_images(imgsz, batch)
    where = {"device": device, "threads": args.threads, "runtime": timer.runtime}
    measured = measure(own, base, image, **where, exclusive=lock)
    facts = {
        **_described(args, document),
        **_figures(counts, measured),
        "memory_mb": peak_memory_mb(own, image, device),
        "base_memory_mb": peak_memory_mb(base, image, device),
        "batch": batch,
        "imgsz": imgsz,
        "forms": forms,
        "max_relative_error": error,
    }
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def _subject(args: argparse.Namespace) -> tuple[ModelDocument, int]:
    """Give the model to profile and its image size."""
    from spnas.networks.load import read_document

    if (args.model is None) == (args.space is None):
        got = "neither" if args.model is None else "both"
        raise ConfigError(f"profile: expected either a model yaml or --space, got {got}")
    if args.space is not None:
        document = _uniform(args.space, args.uniform)
        return document, document.network.default_imgsz
    if args.uniform is not None:
        raise ConfigError("--uniform: goes with --space, not with a model yaml")
    document = read_document(args.model)
    metrics = document.document.get("metrics")
    size = metrics.get("imgsz") if isinstance(metrics, Mapping) else None
    return document, size if isinstance(size, int) else document.network.default_imgsz


def _uniform(space: str, choice: str | None) -> ModelDocument:
    """Give the space's base network with the choice wherever it is offered."""
    from spnas.architecture import Architecture, Choice
    from spnas.errors import ArchitectureError
    from spnas.networks import model_document
    from spnas.networks.document import parse_document
    from spnas.spaces import load_space

    loaded = load_space(space)
    architecture = Architecture()
    if choice is not None:
        try:
            architecture = loaded.uniform(Choice.parse(choice))
        except ArchitectureError as error:
            raise ConfigError([f"--uniform: {problem}" for problem in error.problems]) from None
    network = loaded.network
    return parse_document(model_document(network, network.default_classes, architecture))


def _build(document: ModelDocument, imgsz: int) -> tuple[nn.Module, nn.Module]:
    """Build the model and its base network, with BatchNorm statistics of the images they will meet."""
    import torch

    from spnas.architecture import Architecture
    from spnas.latency.images import smooth_images
    from spnas.training import reestimate_batchnorm

    torch.manual_seed(0)
    base = replace(document, architecture=Architecture(), forms={})
    models = document.build(), base.build()
    for model in models:
        reestimate_batchnorm(model, [smooth_images(imgsz, _STATISTICS)])
    return models


def _check_form(model: nn.Module, imgsz: int) -> float:
    """Check that the deployed form equals the training form in eval mode, in double precision.

    Returns:
        The largest difference over the largest value, of the output tensor where it is largest.

    Raises:
        SpnasError: It does not.
    """
    import torch

    from spnas.latency.images import smooth_images
    from spnas.latency.runtimes.output_check import tensors
    from spnas.networks import deploy_model

    exact = copy.deepcopy(model).double().eval()
    image = smooth_images(imgsz, 1).double()
    with torch.inference_mode():
        outputs = zip(tensors(exact(image)), tensors(deploy_model(exact)(image)), strict=True)
        error = float(torch.stack([(a - b).abs().max() / a.abs().max() for a, b in outputs]).max())
    if not error < _TOLERANCE:
        raise SpnasError(
            f"the deployed form is wrong: its output is off by {error:.1e} of the training form's largest "
            f"value, expected less than {_TOLERANCE:.0e}"
        )
    return error


def _described(args: argparse.Namespace, document: ModelDocument) -> dict[str, Any]:
    return {
        "model": str(args.model or args.space),
        "uniform": args.uniform,
        "base": document.network.name,
        "arch_id": document.architecture.id,
        "replaced_sites": len(document.architecture),
    }


def _figures(counts: list[Counts], measured: Measurement) -> dict[str, Any]:
    found = asdict(measured)
    return {
        "params": counts[0].params,
        "base_params": counts[1].params,
        "macs": counts[0].macs,
        "base_macs": counts[1].macs,
        "latency_ratio": found.pop("ratio"),
        "latency_ratio_std": found.pop("ratio_std"),
        "latency_ratio_low": found.pop("ratio_low"),
        "latency_ratio_high": found.pop("ratio_high"),
        "latency_warning": found.pop("warning"),
        **found,
    }


@dataclass(frozen=True)
class _Row:
    name: str
    own: str
    base: str
    ratio: str


def _rows(facts: dict[str, Any]) -> Iterator[_Row]:
    for name in ("params", "macs"):
        own, base = facts[name], facts[f"base_{name}"]
        yield _Row(name, f"{own:,}", f"{base:,}", f"{own / base:.3f}")
    own, base = facts["memory_mb"], facts["base_memory_mb"]
    yield _Row("memory_mb", f"{own:.2f}", f"{base:.2f}", f"{own / base:.3f}")
    own, base = (
        f"{facts[f'{prefix}latency_ms']:.2f} ± {facts[f'{prefix}latency_std_ms']:.2f}"
        for prefix in ("", "base_")
    )
    ratio = f"{facts['latency_ratio']:.3f} ± {facts['latency_ratio_std']:.3f}"
    yield _Row("latency_ms", own, base, ratio)


def _print(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    what = f"{facts['uniform']} at" if facts["uniform"] else "operators at"
    console.print(
        f"{facts['model']}: {facts['base']}, {what} {counted(facts['replaced_sites'], 'site')}\n"
    )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("model", "base", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(facts):
        table.add_row(row.name, row.own, row.base, row.ratio)
    console.print(table)
    threads = counted(facts["threads"], "thread")
    console.print(
        f"\n{facts['device']}, {threads}, batch {facts['batch']}, {facts['imgsz']} px, "
        f"{facts['dtype']}, runtime {facts['runtime']}\n"
        f"ratio on clock {facts['clock']}, {facts['rounds']} rounds; ± is 1.4826 x MAD over the rounds\n"
        f"95% interval of the ratio: {facts['latency_ratio_low']:.3f} to {facts['latency_ratio_high']:.3f}\n"
        f"{_form_counts(facts['forms'])}"
        f"deployed form equals the training form: max relative error {facts['max_relative_error']:.1e}\n"
        f"output in {facts['runtime']} against torch in float32: max relative error {facts['max_error']:.1e}"
    )
    if facts["latency_warning"]:
        console.print(f"warning: {facts['latency_warning']}")


def _form_counts(forms: Mapping[str, str]) -> str:
    counts = Counter(forms.values())
    told = ", ".join(
        f"{form} at {counted(count, 'site')}" for form, count in sorted(counts.items())
    )
    return f"faster deployed forms than the default: {told}\n" if told else ""
