"""`spnas train`: the full training of a found model."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spnas.cli.options import DEVICE_HELP
from spnas.errors import ConfigError


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train a found model fully",
        usage="spnas train MODEL [options] [SETTING=VALUE ...]",
        description=(
            "Trains a model of a front: a YOLO by Ultralytics' trainer, any other network by a standard recipe. "
            "It starts from the weights that its operators inherit from the run's trained base network. "
            "Writes RUN/trained/<model>/weights/best.pt."
        ),
        examples=(
            "spnas train results/RUN/pareto/03-1a2b3c4d.yaml --epochs 100",
            "spnas train results/RUN/pareto/03-1a2b3c4d.yaml --epochs 100 lr0=0.005",
            "spnas train results/RUN/pareto/03-1a2b3c4d.yaml --resume",
        ),
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a model yaml, such as one of a front"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        default=(),
        metavar="SETTING=VALUE",
        help="of a YOLO: any other setting of `yolo train`",
    )
    parser.add_argument("--data", help="data.yaml or image folder; default: the run's")
    parser.add_argument("--epochs", type=int, help="default: 100 of a YOLO, 60 of others")
    parser.add_argument("--imgsz", type=int, help="pixels; default: as it was measured")
    parser.add_argument("--batch", type=int, help="default: 16 of a YOLO, 32 of others")
    parser.add_argument(
        "--device", default="auto", help=f"{DEVICE_HELP}; several GPUs, for a YOLO: 0,1"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random; default: 0")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of the trained base to inherit; default: the run's",
    )
    parser.add_argument("--scratch", action="store_true", help="start from fresh weights")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="default: RUN/trained/<model>"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training")


def run(args: argparse.Namespace) -> int:
    """Train, and print what came of it."""
    from spnas.finish import resume_training, train_model

    _show_progress()
    settings = _settings(args.settings, vars(args))
    if args.resume:
        _refuse_beside_resume(args)
        trained = resume_training(args.model, args.output)
    else:
        trained = train_model(
            args.model,
            data=args.data,
            epochs=args.epochs,
            imgsz=args.imgsz,
            batch=args.batch,
            device=args.device,
            seed=args.seed,
            weights=args.weights,
            scratch=args.scratch,
            output=args.output,
            **settings,
        )
    scores = ", ".join(
        f"{name} {value:.4f}" for name, value in trained.scores.items() if not name.endswith("_std")
    )
    print(f"\nbest weights: {trained.weights}\n{scores}")
    print(f"next: spnas export {trained.folder} --format onnx")
    return 0


def _show_progress() -> None:
    """Print what the training says, a line an epoch."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("spnas")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _settings(texts: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Read `name=value` as Ultralytics' command line does."""
    import yaml

    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not name.isidentifier() or not equals:
            problems.append(f"{text}: expected SETTING=VALUE, such as lr0=0.005")
        elif name in options:
            problems.append(f"{text}: expected it as an option, --{name} {value}")
    if problems:
        raise ConfigError(problems)
    return found


def _refuse_beside_resume(args: argparse.Namespace) -> None:
    """Refuse what an interrupted training has already."""
    given = {
        "--data": args.data,
        "--epochs": args.epochs,
        "--imgsz": args.imgsz,
        "--batch": args.batch,
        "--weights": args.weights,
        "--scratch": args.scratch or None,
        "SETTING=VALUE": args.settings or None,
    }
    refused = [name for name, value in given.items() if value is not None]
    if refused:
        raise ConfigError(f"--resume: takes only --output beside it, got {', '.join(refused)}")
