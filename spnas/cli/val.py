"""`spnas val`: score a fully trained model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from spnas.cli.options import DEVICE_HELP


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "val",
        help="score a trained model on validation images",
        usage="spnas val MODEL [options]",
        description=(
            "Scores what `spnas train` trained: mAP of a YOLO, by Ultralytics' validator, top-1 accuracy of a "
            "classification network."
        ),
        examples=("spnas val results/RUN/pareto/03-1a2b3c4d.yaml",),
    )
    add_trained_model(parser)
    parser.add_argument("--data", help="data.yaml or image folder; default: as it was trained")
    parser.add_argument("--imgsz", type=int, help="pixels; default: as it was trained")
    parser.add_argument("--batch", type=int, help="images of a forward; default: 16")
    parser.add_argument("--device", default="auto", help=DEVICE_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_trained_model(parser: argparse.ArgumentParser) -> None:
    """Add what names a trained model."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="the model yaml that was trained, its training's folder, or best.pt in it",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="default: the training's best.pt"
    )


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from spnas.finish import validate_model
    from spnas.runs.summary import METRIC_TITLES

    scores = validate_model(
        args.model,
        data=args.data,
        imgsz=args.imgsz,
        batch=args.batch,
        device=args.device,
        weights=args.weights,
    )
    if args.json:
        print(json.dumps(scores, indent=2))
        return 0
    for name, value in scores.items():
        if not name.endswith("_std"):
            spread = scores.get(f"{name}_std")
            print(
                f"{METRIC_TITLES.get(name, name):10} {value:.4f}"
                + (f" ± {spread:.4f}" if spread is not None else "")
            )
    return 0
