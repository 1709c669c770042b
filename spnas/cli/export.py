"""`spnas export`: a fully trained model's deployed form as a file."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas.cli.val import add_trained_model

if TYPE_CHECKING:
    from spnas.finish import Exported


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "export",
        help="export a trained model's deployed form",
        usage="spnas export MODEL [options]",
        description=(
            "Writes what `spnas train` trained as a file, in its deployed form: operators rewritten, every BatchNorm "
            "folded. The file's output is checked against torch, and its latency on the CPU measured beside the base "
            "network's, exported in the same way."
        ),
        examples=(
            "spnas export results/RUN/pareto/03-1a2b3c4d.yaml",
            "spnas export results/RUN/trained/03-1a2b3c4d --format openvino --imgsz 320",
        ),
    )
    add_trained_model(parser)
    parser.add_argument(
        "--format",
        default="onnx",
        help="onnx, openvino, torchscript, or for a YOLO on CUDA engine (TensorRT); default: onnx",
    )
    parser.add_argument("--imgsz", type=int, help="pixels; default: as it was trained")
    parser.add_argument("--batch", type=int, default=1, help="images of the input; default: 1")
    parser.add_argument("--device", default="auto", help="of an engine; default: auto")
    parser.add_argument("--threads", type=int, default=1, help="of the latency; default: 1")
    parser.add_argument("--no-latency", action="store_true", help="do not measure it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Export, check, measure and print."""
    from spnas.finish import export_model

    exported = export_model(
        args.model,
        format=args.format,
        imgsz=args.imgsz,
        batch=args.batch,
        device=args.device,
        weights=args.weights,
        threads=args.threads,
        latency=not args.no_latency,
    )
    if args.json:
        print(json.dumps(asdict(exported) | {"path": str(exported.path)}, indent=2))
    else:
        _print(exported)
    return 0


def _print(exported: Exported) -> None:
    files = [exported.path] if exported.path.is_file() else sorted(exported.path.iterdir())
    size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    print(f"{exported.path}  {_kind(exported.path)}{size:.2f} MB")
    shape = f"({exported.batch}, 3, {exported.imgsz}, {exported.imgsz})"
    print(f"input    {shape}, float32")
    print(
        f"checked  against torch: max error {exported.max_error:.1e} of a channel's largest value"
    )
    found = exported.latency
    if found is None:
        return
    threads = f"{found.threads} thread{'s' * (found.threads > 1)}"
    print(f"latency  {found.latency_ms:.2f} ms, base network {found.base_latency_ms:.2f} ms")
    print(
        f"ratio    {found.ratio:.3f} ({found.ratio_low:.3f} to {found.ratio_high:.3f}), "
        f"{found.runtime}, {found.device}, {threads}"
    )
    if found.warning:
        print(f"warning: {found.warning}")


def _kind(path: Path) -> str:
    return "folder, " if path.is_dir() else ""
