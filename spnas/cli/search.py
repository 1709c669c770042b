"""`spnas search`: from a space and data to a Pareto front."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spnas.cli.options import DEVICE_HELP

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
    "max_latency",
    "max_params",
    "max_macs",
    "runtime",
    "latency_on",
    "address",
    "sampler",
    "scheduler",
    "confirm_share",
    "trial_timeout_s",
)
_CHANGEABLE = ("budget", "confirm_share", "address", "trial_timeout_s")  # of a run that is resumed


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "search",
        help="search a space for the Pareto front",
        usage="spnas search --space SPACE --budget BUDGET [options]",
        description=(
            "Trains the base network, then trial after trial: latency of the deployed form beside the base's, a short "
            "training, accuracy; at last trains and measures the front again. Ctrl-C ends it with the front so far."
        ),
        examples=("spnas search --space yolov8n --data my.yaml --budget 45m",),
    )
    _add_what(parser)
    _add_limits(parser)
    _add_latency(parser)
    _add_how(parser)
    _add_run(parser)


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Add what is searched, on what data, for how long."""
    parser.add_argument("--space", help="a shipped space (`spnas spaces`) or a yaml file")
    parser.add_argument("--data", help="data.yaml or image folder; default: embedded digits")
    parser.add_argument("--budget", help="8gpu-h, 30cpu-min, 45m (wall time) or 200trials")
    parser.add_argument("--device", help=DEVICE_HELP)
    parser.add_argument("--imgsz", type=int, help="pixels; default: the data's or network's")
    parser.add_argument("--seed", type=int, help="of everything random; default: 0")
    parser.add_argument("--name", help="of the run; default: the space and the time")
    parser.add_argument(
        "--weights", help="of the base, which is trained first without them and from other classes'"
    )
    parser.add_argument("--results", help="folder for runs; default: results")
    parser.add_argument(
        "--gpus-per-trial", type=float, metavar="GPUS", help="that a trial takes; default: 1"
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what candidates may cost."""
    parser.add_argument(
        "--max-latency",
        metavar="LIMIT",
        help="train none slower: 8ms, 0.7x the base's; default: 1x",
    )
    parser.add_argument(
        "--max-params", metavar="LIMIT", help="none with more parameters: 2.5M or 0.8x"
    )
    parser.add_argument(
        "--max-macs", metavar="LIMIT", help="none with more multiply-adds: 3G or 0.8x"
    )


def _add_latency(parser: argparse.ArgumentParser) -> None:
    """Add where and in what latency is measured."""
    parser.add_argument("--runtime", help="what latency is measured in: `spnas doctor`")
    parser.add_argument(
        "--latency-on", metavar="WHERE", help="cpu, cuda or node:RESOURCE of the Ray cluster"
    )
    parser.add_argument("--address", help="of a running Ray cluster: auto or HOST:PORT")


def _add_how(parser: argparse.ArgumentParser) -> None:
    """Add how the search goes about it."""
    parser.add_argument("--sampler", help="latency-aware (default), tpe, nsga2 or random")
    parser.add_argument("--scheduler", help="promise (default), epsilon-net or none")
    parser.add_argument(
        "--confirm-share",
        type=float,
        metavar="SHARE",
        help="of the budget, to confirm the front; default: 0.2",
    )
    parser.add_argument(
        "--trial-timeout-s",
        type=float,
        metavar="SECONDS",
        help="give a hanging trial up then; default: 10 times what trials take, 600 at least",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of the run as a whole."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="yaml with these and more options"
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a run; beside it only --budget, --confirm-share, --address, --trial-timeout-s",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what the budget buys; write nothing"
    )
    told = parser.add_mutually_exclusive_group()
    told.add_argument("--quiet", action="store_true", help="say nothing before the front")
    told.add_argument(
        "--json", action="store_true", help="a line of JSON an event; with --dry-run: the plan"
    )


def run(args: argparse.Namespace) -> int:
    """Search, or go on with a run; exit code 1 where no trial was completed."""
    from spnas.cli.pareto import show_front
    from spnas.search.config import make_config
    from spnas.search.run import resume, search
    from spnas.search.telling import Telling

    _check_dry_run(args)
    telling = Telling("json" if args.json else "quiet" if args.quiet else "people")
    options = {name: getattr(args, name) for name in _OPTIONS}
    if args.dry_run:
        from spnas.cli.dry_run import show_plan

        return show_plan(make_config(options, args.config), as_json=args.json)
    if args.resume is None:
        result = search(make_config(options, args.config), telling)
    else:
        _refuse_beside_resume(args)
        changes = {name: value for name, value in options.items() if value is not None}
        result = resume(args.resume, changes, telling)
    return 0 if show_front(result, form="line" if args.json else "table") else 1


def _check_dry_run(args: argparse.Namespace) -> None:
    """Refuse what means nothing beside --dry-run."""
    from spnas.errors import ConfigError

    if args.quiet and args.dry_run:
        raise ConfigError("--dry-run: expected no --quiet beside it")
    if args.dry_run and args.resume is not None:
        raise ConfigError("--dry-run: expected no --resume beside it")


def _refuse_beside_resume(args: argparse.Namespace) -> None:
    """Refuse options that a resumed run has already."""
    from spnas.errors import ConfigError

    given = [name for name in (*_OPTIONS, "config") if getattr(args, name) is not None]
    refused = [f"--{name.replace('_', '-')}" for name in given if name not in _CHANGEABLE]
    if refused:
        raise ConfigError(
            "--resume takes only --budget, --confirm-share, --address and --trial-timeout-s beside it, "
            f"got {', '.join(refused)}"
        )
