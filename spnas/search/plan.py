"""What a search is going to do: the options resolved against the space, the data and the machine, and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from spnas.device import resolve_device
from spnas.errors import BudgetError, ConfigError
from spnas.latency import default_runtime
from spnas.names import counted
from spnas.networks import Network, load_base_weights
from spnas.search.budget import Budget
from spnas.search.config import NODE, SearchConfig
from spnas.search.devices import NodeShare, check_latency, latency_device, names_index, reserve
from spnas.search.limits import Limits
from spnas.search.objective import TrialSettings
from spnas.spaces import SearchSpace, load_space
from spnas.tasks import DataInfo, check_data
from spnas.training import Schedule, base_schedule, doubling_rungs, proxy_schedule


@dataclass(frozen=True)
class Plan:
    """A search, resolved.

    Attributes:
        config: The options as given.
        space: The search space.
        info: The data set.
        device: Where trials train and are measured.
        imgsz: Image size, pixels.
        cpus: Cores reserved of this machine.
        gpus: GPUs reserved of this machine.
        slots: Trials at the same time, on all nodes.
        devices: What the budget counts: GPUs, or cores, of all nodes.
        devices_per_trial: What a trial occupies of them.
        schedule: The proxy training.
        base_schedule: The base network's training; None where the user's weights are taken as they are.
        nodes: The nodes of a cluster that trials run on; none without one.
    """

    config: SearchConfig
    space: SearchSpace
    info: DataInfo
    device: torch.device
    imgsz: int
    cpus: int
    gpus: int
    slots: int
    devices: float
    devices_per_trial: float
    schedule: Schedule
    base_schedule: Schedule | None
    nodes: tuple[NodeShare, ...] = ()

    @property
    def network(self) -> Network:
        """The base network."""
        return self.space.network

    @property
    def confirm_schedule(self) -> Schedule:
        """The training of a re-evaluation."""
        epochs = self.config.confirm_epochs or 2 * self.schedule.epochs
        return replace(self.schedule, epochs=epochs, rungs=())

    @property
    def base_told(self) -> str:
        """Where the base network's weights come from, for people."""
        if self.base_schedule is None:
            return f"weights of {self.config.weights}"
        epochs = counted(self.base_schedule.epochs, "epoch")
        return f"{epochs} from {self.config.weights}" if self.config.weights else epochs

    @property
    def latency_batch(self) -> int:
        """Images in a forward that latency is measured with."""
        return self.config.latency_batch or self.network.latency_batch

    @property
    def latency_node(self) -> str | None:
        """The Ray resource of the node that latency is measured on; None for this machine."""
        target = self.config.latency_on or ""
        return target.removeprefix(NODE) if target.startswith(NODE) else None

    @property
    def runtime(self) -> str | None:
        """What latency is measured in; None for the default of a node's device, which that node knows."""
        if self.config.runtime is not None or self.latency_node is not None:
            return self.config.runtime
        return default_runtime(latency_device(self.config, self.device))

    @property
    def one_gpu(self) -> bool:
        """Whether the user named one CUDA device, `cuda:1`, rather than all."""
        return self.device.type == "cuda" and names_index(self.config.device)

    @property
    def visible_gpu(self) -> str | None:
        """The one GPU that workers may see, as CUDA_VISIBLE_DEVICES names it; None for all of this process."""
        if not self.one_gpu:
            return None
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        index = self.device.index or 0
        return visible.split(",")[index].strip() if visible else str(index)

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for a trial."""
        gpus = self.config.gpus_per_trial if self.gpus else 0.0
        return {"CPU": float(self.config.cpus_per_trial), "GPU": gpus}

    @property
    def counts_gpus(self) -> bool:
        """Whether the budget counts GPUs rather than cores."""
        return self.gpus > 0 and Budget.parse(self.config.budget).unit != "cpu"

    def with_node(self, node_id: str, cpus: int, gpus: int) -> Plan:
        """Give the plan on one more node, which offers so many cores and GPUs; the same where it has none for a trial.

        `cpus` and `gpus` of the options hold for each node.
        """
        config = self.config
        cpus = min(cpus, config.cpus or cpus)
        gpus = min(gpus, config.gpus or gpus) if self.gpus else 0
        slots = cpus // config.cpus_per_trial
        if self.gpus:
            slots = min(slots, int(gpus / config.gpus_per_trial))
        if not slots:
            return self
        share = NodeShare(node_id, slots, float(gpus if self.counts_gpus else cpus))
        return replace(
            self,
            nodes=(*self.nodes, share),
            slots=self.slots + share.slots,
            devices=self.devices + share.devices,
        )

    def limits(self, base: Mapping[str, Any]) -> Limits:
        """Resolve what candidates may cost against the base network, of which `train_base` tells."""
        config = self.config
        return Limits.resolve(base, config.max_latency, config.max_params, config.max_macs)

    def settings(
        self,
        weights: Path,
        threads: int | None = None,
        base_latency_ms: float | None = None,
        limits: Limits | None = None,
        library: Path | None = None,
    ) -> TrialSettings:
        """Give what every trial shares; without limits everything is trained."""
        return TrialSettings(
            network=self.network.name,
            kind=self.network.kind,
            data=self.config.data,
            num_classes=self.info.num_classes,
            imgsz=self.imgsz,
            # Ray shows each worker its own GPU only, under the number 0.
            device="cuda:0" if self.device.type == "cuda" else str(self.device),
            threads=threads or self.config.cpus_per_trial,
            seed=self.config.seed,
            weights=str(weights.resolve()),
            schedule=self.schedule,
            latency_batch=self.latency_batch,
            runtime=self.runtime,
            latency_device=None if self.latency_node else self.config.latency_on,
            base_latency_ms=base_latency_ms,
            limits=limits or Limits(),
            library=None if library is None else str(library.resolve()),
        )

    def resolved(self) -> dict[str, Any]:
        """Give what the defaults came to, for config.yaml."""
        return {
            "base": self.network.name,
            "task": self.network.kind,
            "num_classes": self.info.num_classes,
            "device": str(self.device) if self.one_gpu else self.device.type,
            "imgsz": self.imgsz,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "slots": self.slots,
            "epochs": self.schedule.epochs,
            "rungs": list(self.schedule.rungs),
            "batch": self.schedule.batch_size,
            "lr": self.schedule.lr,
            "base_epochs": self.base_schedule.epochs if self.base_schedule else 0,
            "confirm_epochs": self.confirm_schedule.epochs,
            "latency_on": self.config.latency_on or self.device.type,
            "latency_batch": self.latency_batch,
            "runtime": self.runtime,
        }

    def describe(self) -> str:
        """Tell in one line what is going to happen."""
        share = f"{self.config.gpus_per_trial:g} GPU" if self.gpus else "no GPU"
        nodes = f" on {len(self.nodes)} nodes" if len(self.nodes) > 1 else ""
        cores, epochs = self.config.cpus_per_trial, self.schedule.epochs
        rungs = f", rungs {list(self.schedule.rungs)}" if self.schedule.rungs else ""
        return (
            f"{self.space.name} on {self.info.train_images} training and {self.info.val_images} validation images, "
            f"{self.imgsz} px, {self.device}, {counted(self.slots, 'trial')} at a time{nodes} "
            f"({counted(cores, 'core')} and {share} each), {counted(epochs, 'epoch')} a trial{rungs}, "
            f"budget {self.config.budget}, {self._latency_text()}"
        )

    def _latency_text(self) -> str:
        names = ("latency", "params", "macs")
        limits = {name: getattr(self.config, f"max_{name}") for name in names}
        told = [f"{name} at most {limit}" for name, limit in limits.items() if limit]
        where = [f"latency on {self.config.latency_on}"] if self.config.latency_on else []
        return ", ".join(told + where)


def make_plan(config: SearchConfig) -> Plan:
    """Resolve a search's options and check all that can be checked before any training.

    Raises:
        InputError: The budget, the space, the data, the device, the weights or the options cannot be used.
    """
    budget = Budget.parse(config.budget)
    device = resolve_device(config.device)
    check_latency(config, device)
    space = load_space(config.space)
    kind = space.network.kind
    info = check_data(kind, config.data)
    space = space.for_classes(info.num_classes)
    weights_suffice = _weights_suffice(config, space, info.num_classes)
    imgsz = config.imgsz or info.imgsz or space.network.default_imgsz
    space.network.check_imgsz(imgsz)
    cpus, gpus, slots = reserve(config, device)
    if budget.unit == "gpu" and not gpus:
        raise BudgetError(
            f"budget {config.budget!r} counts GPUs but the device is {device}, "
            "expected for example 30cpu-min, 45m or 200trials"
        )
    counts_gpus = gpus > 0 and budget.unit != "cpu"
    return Plan(
        config=config,
        space=space,
        info=info,
        device=device,
        imgsz=imgsz,
        cpus=cpus,
        gpus=gpus,
        slots=slots,
        devices=float(gpus if counts_gpus else cpus),
        devices_per_trial=config.gpus_per_trial if counts_gpus else float(config.cpus_per_trial),
        schedule=_proxy(config, kind),
        base_schedule=_base(config, kind, weights_suffice),
    )


def _weights_suffice(config: SearchConfig, space: SearchSpace, num_classes: int) -> bool:
    """Whether the user gave weights, and every layer is in them; they are checked in passing."""
    return config.weights is not None and load_base_weights(
        space.network.build(num_classes), config.weights
    )


def _proxy(config: SearchConfig, kind: str) -> Schedule:
    default = proxy_schedule(kind)
    schedule = replace(
        default,
        epochs=config.epochs or default.epochs,
        rungs=(),
        batch_size=config.batch or default.batch_size,
        lr=config.lr or default.lr,
    )
    rungs = doubling_rungs(schedule.epochs) if config.rungs is None else config.rungs
    if config.rungs is not None and any(rung >= schedule.epochs for rung in rungs):
        raise ConfigError(f"rungs: expected epochs below {schedule.epochs}, got {list(rungs)}")
    return replace(schedule, rungs=tuple(sorted({r for r in rungs if r < schedule.epochs})))


def _base(config: SearchConfig, kind: str, weights_suffice: bool) -> Schedule | None:
    """Give the base's training: also of weights that lack layers, or where the user asks for one."""
    if weights_suffice and config.base_epochs is None:
        return None
    schedule = base_schedule(kind)
    return replace(
        schedule,
        epochs=config.base_epochs or schedule.epochs,
        batch_size=config.batch or schedule.batch_size,
    )
