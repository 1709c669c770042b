"""Which nodes of a cluster trials run on, and whether each has what they need."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import spnas
from spnas.device import device_name
from spnas.errors import ConfigError, DataError
from spnas.search.adapters import Work
from spnas.search.cluster import ray_cluster, this_node
from spnas.search.devices import NodeShare
from spnas.search.plan import Plan
from spnas.tasks import DataInfo
from spnas.tasks.fingerprint import fingerprint

logger = logging.getLogger("spnas")

_ANSWER_S = 120.0  # a node imports torch first
_LOOK_S = 5.0


@dataclass(frozen=True)
class NodeFacts:
    """What has to be alike on every node that trains.

    Attributes:
        version: Of spnas.
        device: Make and model of the device that latency is measured on; None where that is another node's.
        data: Fingerprint of the data set's files, or what is wrong with them; None for the embedded one.
    """

    version: str
    device: str | None
    data: str | None

    def problem(self, other: NodeFacts) -> str | None:
        """Say in what another node differs; None where it does not."""
        if other.version != self.version:
            return f"expected spnas {self.version} as here, got {other.version}"
        if other.data != self.data:
            return (
                f"expected the data set under the same path as here ({self.data}), got {other.data}"
            )
        if other.device != self.device:
            return (
                f"expected {self.device} as here, got {other.device}: latencies of different devices do not compare; "
                "expected --latency-on node:RESOURCE"
            )
        return None


def plan_nodes(plan: Plan) -> Plan:
    """Check, before anything is written, that the cluster at the plan's address has what the search needs.

    Trials run on every node that offers cores, and GPUs on a CUDA device, for one.

    Returns:
        The plan on all these nodes.

    Raises:
        ConfigError: This machine does not offer what is to be reserved, nobody offers the resource that latency is to
            be measured on, or a node lacks something; one line for each node.
    """
    with ray_cluster(plan):
        here = this_node()
        _check_reserved(plan, here["Resources"])
        _check_latency_node(plan)
        own = NodeShare(here["NodeID"], plan.slots, plan.devices)
        spread, others = replace(plan, nodes=(own,)), []
        for node in ray.nodes():
            if not node["Alive"] or node["NodeID"] == here["NodeID"]:
                continue
            offered = node["Resources"]
            cpus, gpus = int(offered.get("CPU", 0)), int(offered.get("GPU", 0))
            wider = spread.with_node(node["NodeID"], cpus, gpus)
            if wider is not spread:
                spread = wider
                others.append(node)
        _check_alike(plan, others)
    return spread


class NodeWatch:
    """Notices that a node that trials run on is gone: fewer trials at a time then, and less for the budget to count.

    Args:
        nodes: What was reserved of each node.
        work: Whose trials they are.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        nodes: tuple[NodeShare, ...],
        work: Work,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._work, self._clock = nodes, work, clock
        self._next = clock()

    def check(self) -> None:
        """Look, now and then, which nodes are there."""
        if not self._nodes or self._clock() < self._next:
            return
        self._next = self._clock() + _LOOK_S
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        there = [share for share in self._nodes if share.node_id in alive]
        slots = sum(share.slots for share in there)
        if slots == self._work.slots:
            return
        logger.warning(
            "nodes left: %d of %d; trials at a time from now on: %d",
            *(len(there), len(self._nodes), slots),
        )
        self._work.slots = slots
        self._work.ledger.hold(sum(share.devices for share in there))


def _check_reserved(plan: Plan, offered: dict[str, float]) -> None:
    for kind, resource, reserved in (("cpus", "CPU", plan.cpus), ("gpus", "GPU", plan.gpus)):
        there = int(offered.get(resource, 0))
        if there < reserved:
            raise ConfigError(
                f"{kind}: expected at most the {there} that this machine offers to the cluster, got {reserved}"
            )


def _check_latency_node(plan: Plan) -> None:
    wanted = plan.latency_node
    if wanted is not None and not ray.cluster_resources().get(wanted):
        raise ConfigError(
            f"--latency-on node:{wanted}: no node of the cluster offers the resource {wanted!r}, expected one that "
            f"joined by: ray start --address=HOST:PORT --num-cpus=0 --resources='{{\"{wanted}\": 1}}'"
        )


def _check_alike(plan: Plan, nodes: list[dict[str, Any]]) -> None:
    """Ask every other node for its facts, all at a time."""
    if not nodes:
        return
    device = None if plan.latency_node else plan.config.latency_on or plan.device.type
    info = plan.info if plan.config.data is not None else None
    describe = ray.remote(describe_node)
    asked = [
        describe.options(
            num_cpus=0,
            num_gpus=0.001 if plan.gpus else 0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(device, info)
        for node in nodes
    ]
    expected = describe_node(device, info)
    problems = []
    for node, task in zip(nodes, asked, strict=True):
        problem = _ask(task, expected)
        if problem:
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            problems.append(
                f"--address {plan.config.address}: node {name}: {problem} (or a node without cores: --num-cpus=0)"
            )
    if problems:
        raise ConfigError(problems)


def _ask(task: Any, expected: NodeFacts) -> str | None:
    try:
        return expected.problem(ray.get(task, timeout=_ANSWER_S))
    except ray.exceptions.GetTimeoutError:
        return f"no answer in {_ANSWER_S:.0f} s; is its GPU free?"
    except ray.exceptions.RayError as error:
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return f"spnas does not start there: {last.strip():.200}"


def describe_node(device: str | None, info: DataInfo | None) -> NodeFacts:
    """Give the facts of the node that this runs on.

    Args:
        device: What latency is measured on, of the node; None for another one.
        info: The data set; None for the embedded one, which every node makes itself.
    """
    name = None if device is None else device_name(torch.device(device))
    if info is None:
        return NodeFacts(spnas.__version__, name, None)
    try:
        data = fingerprint(info)
    except (OSError, DataError) as error:
        data = f"{type(error).__name__}: {error}"
    return NodeFacts(spnas.__version__, name, data)
