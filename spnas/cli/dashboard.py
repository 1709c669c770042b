"""`spnas dashboard`: a run's study in Optuna's dashboard."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_HOST = "127.0.0.1"  # the dashboard asks nobody who they are


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "dashboard",
        help="open Optuna's dashboard on a run's study",
        description=(
            "Serves Optuna's dashboard of a run's study on this machine, until Ctrl-C. It needs optuna-dashboard: "
            "pip install 'spnas[dashboard]'."
        ),
        examples=("spnas dashboard results/my-run --port 8081",),
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run directory, such as results/my-run"
    )
    parser.add_argument("--port", type=int, default=8080, help="where to; default: 8080")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from spnas.errors import ConfigError, RunError
    from spnas.runs import RunDirectory

    directory = RunDirectory.open(args.run)
    if not directory.study.is_file():
        raise RunError(f"{directory.study}: no such file; the dashboard shows a run's study")
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise ConfigError(
            "optuna-dashboard is not installed: pip install 'spnas[dashboard]'"
        ) from None
    from spnas.search.storage import open_storage

    print(f"http://{_HOST}:{args.port} shows {directory.study}; Ctrl-C ends it", flush=True)
    try:
        run_server(open_storage(directory.study), host=_HOST, port=args.port)
    except OSError as error:
        raise ConfigError(f"--port {args.port}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        pass
    return 0
