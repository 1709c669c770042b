"""Starts a private Ray for a search, or joins a cluster that is there already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from spnas.errors import ConfigError, SpnasError
from spnas.search.plan import Plan

# Ray and Ultralytics read these when they are imported, here and in the workers: no telemetry, no result files of
# their own, no bars, no word about workers that were ended on purpose; the user's working directory, which relative
# paths start from; time for a stopped trial to wind up before its worker takes the next one; no lower priority, which
# would slow trainings beside any other load; threads that spin only briefly while they wait: as fast as those that spin
# long (those that never do take twice as long for small layers), and soon off a core that others need.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_worker_niceness": "0",
    "GOMP_SPINCOUNT": "10000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

logger = logging.getLogger("spnas")

LOOPBACK = "127.0.0.1"
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_ANSWER_S = 10.0


@contextmanager
def ray_cluster(plan: Plan) -> Iterator[None]:
    """Have Ray for the time of a search: a private one on 127.0.0.1, or the cluster at the plan's address.

    Raises:
        ConfigError: No cluster answers at the address, this machine is not one of its nodes, or this process has a Ray
            of its own.
    """
    if ray.is_initialized():
        raise ConfigError(
            "expected a process without Ray, got one that has called ray.init; give its cluster as address instead"
        )
    for name in ("ray", "ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # its list of failed trials
    try:
        with _own_sigterm():
            if plan.config.address is None:
                _start(plan)
            else:
                _join(plan.config.address)
        with _ray_told_in_the_log():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, in whose place a Ray that starts puts its own: to leave at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:  # Ray's answer
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)


@contextmanager
def _ray_told_in_the_log() -> Iterator[None]:
    """Have the beginning of what Ray tells of its nodes and workers in the log.

    Ray prints it to standard output, which is ours and with `--json` read by machines: for each lost node the last page
    of that node's own log, twice.
    """
    worker = ray._private.worker
    before = worker.print_to_stdstream

    def log(message: dict[str, Any], ignore_prefix: bool) -> None:
        for text in message["lines"]:
            logger.info("Ray: %.200s", text.partition("\n")[0])

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _start(plan: Plan) -> None:
    if plan.visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = plan.visible_gpu
    with _loopback_only():
        ray.init(
            address="local",
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _node_ip_address=LOOPBACK,
        )


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Have a Ray that is started meanwhile listen on 127.0.0.1 alone.

    On Linux Ray takes 127.0.0.1 for "this machine", puts its address in the network in place of it and listens on all
    interfaces, unless it is told that this is a machine that forms no clusters, as its Windows and macOS builds are.
    """
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    os.environ[_CLUSTERS] = "0"  # for the processes that it starts
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before
        del os.environ[_CLUSTERS]


class RayWatch:
    """Notices that the Ray that this process has started is gone, as where the kernel has killed it for its memory.

    Ray itself ends this process half a minute later, without a word that helps.
    """

    def __init__(self) -> None:
        children = psutil.Process().children()
        self._raylets = [child for child in children if child.name() == "raylet"]

    def check(self) -> None:
        """Check that it is there; of a cluster that was joined, Ray itself tells.

        Raises:
            SpnasError: It is gone.
        """
        for raylet in self._raylets:
            if not raylet.is_running() or raylet.status() == psutil.STATUS_ZOMBIE:
                raise SpnasError(
                    "Ray's own process has ended, killed from outside or for want of memory: "
                    "`spnas search --resume` goes on"
                )


def _join(address: str) -> None:
    _check_answers(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            # Its nodes were started by somebody else, without our variables.
            runtime_env={"env_vars": {name: os.environ[name] for name in _ENVIRONMENT}},
        )
    except (OSError, RuntimeError, ValueError) as error:
        told = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--address {address}: {told} (where the cluster asks for a token: with RAY_AUTH_MODE=token and the same "
            "~/.ray/auth_token here?)"
        ) from None


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would try for five minutes."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: expected auto or HOST:PORT of a cluster that this machine is a node of; from "
            "elsewhere: ray job submit -- spnas search --address auto ..."
        )
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"--address {address}: expected HOST:PORT of a running Ray cluster: {error}"
        ) from None


def this_machine(plan: Plan) -> dict[str, float]:
    """Give the Ray resource that keeps a task on this machine, where the run directory is."""
    if plan.config.address is None:
        return {}
    return {f"node:{this_node()['NodeManagerAddress']}": 0.001}


def this_node() -> dict[str, Any]:
    """Give what Ray knows of this machine's node."""
    here = ray.get_runtime_context().get_node_id()
    found: dict[str, Any] = next(node for node in ray.nodes() if node["NodeID"] == here)
    return found
