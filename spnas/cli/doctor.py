"""`spnas doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_REQUIREMENT = re.compile(r"[\w.-]+")


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="print what this machine offers and what is missing",
        description=(
            "Prints versions, devices, threads, free memory and disk, the runtimes that latency can be measured in, "
            "what optional packages are missing and how to install them, and whether a Ray cluster runs here. Worth "
            "adding to a report of a problem."
        ),
        examples=("spnas doctor",),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    facts = examine()
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def examine() -> dict[str, Any]:
    """Give everything that is printed, as plain values."""
    import torch

    from spnas.device import resolve_device
    from spnas.plugins import load_plugins
    from spnas.search.environment import describe_environment

    device = resolve_device()
    environment = describe_environment(device)
    return {
        **environment,
        "executable": sys.executable,
        "devices": _devices(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "memory": _memory(),
        "disk": _disk(),
        "runtimes": _runtimes(),
        "extras": _extras(),
        "plugins": list(load_plugins()),
        "ray_clusters": _ray_clusters(),
    }


def _devices() -> list[dict[str, Any]]:
    """List the devices, the best first, with a GPU's free memory."""
    import torch

    from spnas.device import available_devices, device_name

    found: list[dict[str, Any]] = []
    for name in available_devices():
        facts: dict[str, Any] = {"device": name, "name": device_name(torch.device(name))}
        if name.startswith("cuda"):
            free, total = torch.cuda.mem_get_info(name)
            facts |= {"free_gb": free / 1e9, "total_gb": total / 1e9}
        found.append(facts)
    return found


def _memory() -> dict[str, float]:
    import psutil

    memory = psutil.virtual_memory()
    return {"free_gb": memory.available / 1e9, "total_gb": memory.total / 1e9}


def _disk() -> list[dict[str, Any]]:
    """Give the free space where runs, caches and Ray's files go."""
    import tempfile

    from spnas.runs.files import cache_directory

    places = {
        "here": Path.cwd(),
        "cache": cache_directory(),
        "temporary": Path(tempfile.gettempdir()),
    }
    return [{"what": what, "path": str(path), **_space(path)} for what, path in places.items()]


def _space(path: Path) -> dict[str, float]:
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return {"free_gb": usage.free / 1e9, "total_gb": usage.total / 1e9}


def _runtimes() -> list[dict[str, Any]]:
    """List what latency can be measured in on this machine's devices, or what each runtime lacks."""
    import torch

    from spnas.device import available_devices
    from spnas.errors import ConfigError
    from spnas.latency import check_runtime, runtime_names

    kinds = list(dict.fromkeys(torch.device(name).type for name in available_devices()))
    found: list[dict[str, Any]] = []
    for name in runtime_names():
        usable, reasons = [], []
        for kind in kinds:
            try:
                check_runtime(name, torch.device(kind))
                usable.append(kind)
            except ConfigError as error:
                reason = str(error).removeprefix(f"runtime {name} ").partition(", expected")[0]
                reasons.append(reason)
        # What is to be installed says more than that it is for another device.
        lacking = min(reasons, key=lambda told: told.startswith("does not run"), default=None)
        found.append({"name": name, "devices": usable, "lacks": None if usable else lacking})
    return found


def _extras() -> list[dict[str, Any]]:
    """List the optional groups of packages with what is missing of each."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("spnas") or []:
        extra = _EXTRA.search(line)
        package = _REQUIREMENT.match(line)
        if extra and package and package[0] != "spnas":
            wanted.setdefault(extra[1], []).append(package[0])
    return [
        {"name": name, "missing": [p for p in packages if not any(metadata.distributions(name=p))]}
        for name, packages in sorted(wanted.items())
    ]


def _ray_clusters() -> list[str]:
    """Give the addresses of the Ray clusters with a head on this machine; a search's private Ray is none."""
    import psutil

    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] != "gcs_server":
            continue
        options = dict(text.partition("=")[::2] for text in process.info["cmdline"] or [])
        port = options.get("--gcs_server_port", "0")
        if port != "0":  # a private Ray lets the system choose
            found.append(f"{options.get('--node-ip-address', '127.0.0.1')}:{port}")
    return found


def _print(facts: dict[str, Any]) -> None:
    revision = f" ({facts['git_revision'][:8]})" if facts["git_revision"] else ""
    versions = facts["versions"]
    print(f"spnas     {facts['spnas']}{revision}, Python {facts['python']}, {facts['platform']}")
    named = ("torch", "ultralytics", "optuna", "ray", "onnxruntime", "openvino", "tensorrt")
    print(
        "packages  " + ", ".join(f"{name} {versions[name]}" for name in named if name in versions)
    )
    for device in facts["devices"]:
        memory = f", {_amount(device)}" if "free_gb" in device else ""
        print(f"device    {device['device']}: {device['name']}{memory}")
    omp = facts["omp_num_threads"]
    told = f", OMP_NUM_THREADS={omp}" if omp else ""
    print(f"cores     {facts['cores']} for this process, torch uses {facts['threads']}{told}")
    print(f"memory    {_amount(facts['memory'])}")
    for place in facts["disk"]:
        print(f"disk      {_amount(place)}, {place['what']}: {place['path']}")
    for reason, names in _by_reason(facts["runtimes"]).items():
        print(f"{'  not' if reason else 'runtimes':8}  {names}{f': {reason}' if reason else ''}")
    for extra in facts["extras"]:
        name, missing = extra["name"], ", ".join(extra["missing"])
        how = f"missing {missing} (pip install 'spnas[{name}]')" if missing else "installed"
        print(f"optional  {name}: {how}")
    print(f"plugins   {', '.join(facts['plugins']) or 'none'}")
    clusters = [f"a cluster at {address}" for address in facts["ray_clusters"]]
    print(f"Ray       {', '.join(clusters) or 'no cluster on this machine'}")


def _by_reason(runtimes: list[dict[str, Any]]) -> dict[str, str]:
    """Group the runtimes by what they lack, those that lack nothing first."""
    reasons = sorted({runtime["lacks"] or "" for runtime in runtimes})
    return {
        reason: ", ".join(r["name"] for r in runtimes if (r["lacks"] or "") == reason)
        for reason in reasons
    }


def _amount(place: dict[str, Any]) -> str:
    return f"{place['free_gb']:.1f} GB free of {place['total_gb']:.1f} GB"
