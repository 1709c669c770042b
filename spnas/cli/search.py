"""`spnas search`: from a space and data to a Pareto front."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_OPTIONS = (
    "space",
    "data",
    "budget",
    "device",
    "imgsz",
    "seed",
    "name",
    "weights",
    "results",
    "gpus_per_trial",
    "sampler",
)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "search",
        help="search a space for the Pareto front of latency and accuracy",
        description=(
            "Trains the base network (unless --weights is given), then trial after trial: latency of the deployed "
            "form beside the base's, a short training that inherits the base's weights, and accuracy. Ctrl-C ends "
            "cleanly with the front so far."
        ),
    )
    parser.add_argument(
        "--space", help="name of a shipped space (see `spnas spaces`) or a yaml file"
    )
    parser.add_argument("--data", help="data.yaml or an ImageFolder; default: the embedded digits")
    parser.add_argument("--budget", help="8gpu-h, 30cpu-min, 45m (wall time) or 200trials")
    parser.add_argument("--device", help="auto, cpu, cuda or mps; default: the best there is")
    parser.add_argument("--imgsz", type=int, help="image size in pixels")
    parser.add_argument("--seed", type=int, help="of everything random; default 0")
    parser.add_argument("--name", help="name of the run; default: the space and the time")
    parser.add_argument("--weights", help="weights of the trained base; default: train it first")
    parser.add_argument("--results", help="folder for runs; default: results")
    parser.add_argument("--gpus-per-trial", type=float, help="GPUs a trial takes; default 1")
    parser.add_argument(
        "--sampler", help="latency-aware, tpe, nsga2 or random; default latency-aware"
    )
    parser.add_argument(
        "--config", type=Path, help="yaml with these and more options, see docs/search.md"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run; --budget may raise it"
    )


def run(args: argparse.Namespace) -> int:
    """Search, or go on with a run; exit code 1 where no trial was completed."""
    from rich.console import Console

    from spnas.cli.pareto import show_front
    from spnas.search.config import make_config
    from spnas.search.run import resume, search

    console = Console()
    if args.resume is None:
        options = {name: getattr(args, name) for name in _OPTIONS}
        result = search(make_config(options, args.config), console)
    else:
        _refuse_beside_resume(args)
        result = resume(args.resume, args.budget, console)
    return 0 if show_front(result) else 1


def _refuse_beside_resume(args: argparse.Namespace) -> None:
    """Refuse options that a resumed run has already."""
    from spnas.errors import ConfigError

    given = [name for name in (*_OPTIONS, "config") if getattr(args, name) is not None]
    refused = [f"--{name.replace('_', '-')}" for name in given if name != "budget"]
    if refused:
        raise ConfigError(f"--resume takes only --budget beside it, got {', '.join(refused)}")
