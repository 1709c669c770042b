"""A bench on another node of the cluster, used through a Ray actor that holds the node's resource."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from torch import Tensor, nn

import spnas
from spnas.architecture import Choice
from spnas.errors import ConfigError, DeviceLostError, SpnasError
from spnas.latency import LatencyTable
from spnas.plugins import load_plugins
from spnas.search.bench import Bench, Measured

_START_S = 300.0  # a small board takes a minute to import torch
_RETURN_S = 60.0
_ANSWER_S = 30.0
_LOOK_S = 2.0


class _BenchActor:
    """Lives on the node, one at a time, until the search ends; Ray starts it anew where its node comes back.

    One thread measures, another one answers meanwhile that the actor is there.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        load_plugins()

    @ray.method(concurrency_group="presence")  # type: ignore[untyped-decorator]
    def presence(self) -> str:
        """Give a name of this start of the actor."""
        return f"{ray.get_runtime_context().get_node_id()} {os.getpid()}"

    def describe(self) -> dict[str, Any]:
        return {**self._bench.describe(), "ray_node": ray.get_runtime_context().get_node_id()}

    def measure(self, *args: Any) -> Measured:
        return self._bench.measure(*args)

    def table(self, *args: Any) -> LatencyTable | None:
        return self._bench.table(*args)


class RemoteBench:
    """The best device of a node that offers a custom resource; used as a `Bench`, by any process of the cluster.

    Args:
        resource: The custom resource, which the bench holds alone.
        runtime: What latency is measured in; None for the device's default.
        patience_s: How long a measurement waits for a node that is gone to come back, seconds.
    """

    def __init__(
        self, resource: str, runtime: str | None = None, patience_s: float = _RETURN_S
    ) -> None:
        self.patience_s = patience_s
        self._name = f"node:{resource}"
        self._actor = (
            ray.remote(concurrency_groups={"presence": 1})(_BenchActor)
            .options(
                num_cpus=0,
                resources={resource: 1},
                max_restarts=-1,
                max_task_retries=0,
            )
            .remote(Bench("auto", runtime))
        )
        self._base: tuple[nn.Module, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """Wait until the node is ready; tell what machine it is, as `Bench.describe` does, and its Ray node's id.

        Raises:
            InputError: The runtime does not run there, or another version of spnas does.
            SpnasError: The node does not get ready.
        """
        try:
            described: dict[str, Any] = _get(self._actor.describe.remote(), _START_S)
        except ray.exceptions.GetTimeoutError:
            raise SpnasError(
                f"{self._name}: not ready after {_START_S:.0f} s; does another search measure on it?"
            ) from None
        except ray.exceptions.RayError as error:
            raise SpnasError(f"{self._name}: spnas does not start there: {_line(error)}") from None
        if described["spnas"] != spnas.__version__:
            raise ConfigError(
                f"{self._name}: expected spnas {spnas.__version__} as here, got {described['spnas']}"
            )
        return described

    def measure(
        self, candidate: nn.Module, base: nn.Module, example: Tensor, limit: float = math.inf
    ) -> Measured:
        """Measure on the node, as `Bench.measure` does.

        Raises:
            DeviceLostError: The node is gone.
        """
        if self._base is None or self._base[0] is not base:  # sent once
            self._base = base, ray.put(base)
        measured: Measured = self._ask("measure", candidate, self._base[1], example, limit)
        return measured

    def table(
        self,
        base: nn.Module,
        choices: Mapping[str, Sequence[Choice]],
        example: Tensor,
        limit_s: float = math.inf,
    ) -> LatencyTable | None:
        """Measure the latency table on the node, as `Bench.table` does.

        Raises:
            DeviceLostError: The node is gone.
        """
        table: LatencyTable | None = self._ask("table", base, choices, example, limit_s)
        return table

    def _ask(self, method: str, *args: Any) -> Any:
        """Have the actor do something, and notice where its node is lost meanwhile."""
        start = self._await_node()
        task = getattr(self._actor, method).remote(*args)
        try:
            # Ray was seen to wait for ever for an answer that a lost node owed.
            while not ray.wait([task], timeout=_LOOK_S)[0]:
                if self._presence() != start:
                    raise DeviceLostError(f"{self._name} was lost and is back")
            return _get(task)
        except ray.exceptions.RayError as error:
            raise DeviceLostError(f"{self._name} was lost: {_line(error)}") from None

    def _await_node(self) -> str:
        give_up = time.monotonic() + self.patience_s
        while True:
            try:
                return self._presence()
            except ray.exceptions.RayError as error:
                if time.monotonic() > give_up:
                    raise DeviceLostError(f"{self._name} is gone: {_line(error)}") from None
            time.sleep(_LOOK_S)

    def _presence(self) -> str:
        return str(_get(self._actor.presence.remote(), _ANSWER_S))


def _get(reference: Any, timeout_s: float | None = None) -> Any:
    """Wait for an answer; an error that was raised over there is raised as it was."""
    try:
        return ray.get(reference, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _line(error: Exception) -> str:
    """Say in a line what Ray tells; its last line names the cause."""
    if isinstance(error, ray.exceptions.ActorUnavailableError | ray.exceptions.GetTimeoutError):
        return "it does not answer"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[-1].strip():.200}"
