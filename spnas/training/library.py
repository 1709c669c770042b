"""Operators that stand in for a trained base network's convolutions, each fitted and trained alone, for all trials.

An operator's first task is to do what the convolution in its place did. That depends on the convolution and on what it
reads in the base network, not on the rest of an architecture, so each operator is prepared once and copied into every
architecture that has it: by least squares, and by training all of them side by side, one forward of the base network
feeding them all. After Molchanov et al., LANA: Latency Aware Network Acceleration, ECCV 2022,
https://arxiv.org/abs/2107.10624, and Bercovich et al., Puzzle, 2024, https://arxiv.org/abs/2411.19146.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas.architecture import Architecture, Choice
from spnas.networks.sites import Slot, find_slots
from spnas.runs import atomic_file
from spnas.tasks.base import Task
from spnas.training.fitting import Candidates, fitted_candidates, relative_error
from spnas.training.precision import autocast
from spnas.training.schedule import Schedule

PASSES = 1  # over the training images; three more lowered errors by another tenth at most
LR = 1e-2
_TRIED = 3  # steps that tell how long the others will take
_SEPARATOR = "|"


@dataclass(frozen=True)
class Library:
    """Weights of operators that stand in for a base network's convolutions.

    Attributes:
        states: Each operator's tensors, by `site|choice`.
    """

    states: Mapping[str, Mapping[str, Tensor]]

    def load_into(self, model: nn.Module, architecture: Architecture) -> None:
        """Give an assembled model's operators these weights; those that are not here keep theirs.

        BatchNorm statistics are then a guess: re-estimate them on data before evaluating.
        """
        for site, choice in architecture.items():
            self.load_operator(model.get_submodule(site), site, choice)

    def load_operator(self, operator: nn.Module, site: str, choice: Choice) -> None:
        """Give the operator of one choice at one site its weights; without any here it keeps its own."""
        state = self.states.get(_key(site, choice))
        if state is not None:
            operator.load_state_dict(state)

    def save(self, path: str | PathLike[str]) -> None:
        """Write one file of tensors, atomically."""
        with atomic_file(Path(path)) as file:
            torch.save({key: dict(state) for key, state in self.states.items()}, file)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Library:
        """Read such a file, without running any code of it."""
        return cls(torch.load(path, map_location="cpu", weights_only=True))


def _key(site: str, choice: Choice) -> str:
    return f"{site}{_SEPARATOR}{choice}"


def fit_operators(
    model: nn.Module, base: nn.Module, architecture: Architecture, task: Task
) -> None:
    """Fit an assembled model's operators to the base network's convolutions by least squares, in place.

    Args:
        model: The base network with the architecture's operators.
        base: The trained base network on the task's device; it is left as it is.
        architecture: What the model is made of.
        task: Gives training images.
    """
    choices = {site: (choice,) for site, choice in architecture.items()}
    library = build_library(base, choices, task, seed=0, passes=0)
    assert library is not None
    library.load_into(model, architecture)


def build_library(
    base: nn.Module,
    choices: Mapping[str, Sequence[Choice]],
    task: Task,
    *,
    seed: int,
    passes: int = PASSES,
    lr: float = LR,
    limit_s: float = float("inf"),
) -> Library | None:
    """Prepare each choice of each site to do what the convolution in its place does.

    Args:
        base: The trained base network on the task's device; it is left as it is.
        choices: The choices of each site, by the site's name.
        task: Gives training images.
        seed: Of the images' order and augmentation, and of what operators draw.
        passes: Times that all training images are shown; 0 only fits.
        lr: Highest learning rate of the training.
        limit_s: Seconds that it may take.

    Returns:
        None where it takes longer, or a training's first steps tell that it would.
    """
    started = time.monotonic()
    device = next(base.parameters()).device
    teacher = copy.deepcopy(base).eval().requires_grad_(False)
    slots = [slot for slot in find_slots(teacher) if slot.site.name in choices]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        fitted = fitted_candidates(teacher, slots, choices, task, started + limit_s)
        if fitted is None:
            return None
        candidates, judge = fitted
        if passes:
            before = copy.deepcopy(candidates)
            left_s = limit_s - (time.monotonic() - started)
            if not _train(teacher, slots, candidates, task, passes, lr, seed, left_s):
                return None
            candidates = judge.best(before, candidates)
    return Library(
        {
            _key(site, choice): {k: v.cpu().clone() for k, v in operator.state_dict().items()}
            for site, operators in candidates.items()
            for choice, operator in operators.items()
        }
    )


def _train(
    teacher: nn.Module,
    slots: Sequence[Slot],
    candidates: Candidates,
    task: Task,
    passes: int,
    lr: float,
    seed: int,
    limit_s: float,
) -> bool:
    """Train all operators at once; False where that would take longer than allowed."""
    operators = [operator for of in candidates.values() for operator in of.values()]
    if not operators:
        return True
    device = next(teacher.parameters()).device
    parameters = [p for operator in operators for p in operator.train().parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    schedule = Schedule(epochs=passes, lr=lr)
    seen, total = 0, passes * task.train_images
    started = time.monotonic()
    for module in (teacher, *operators):
        module.to(memory_format=torch.channels_last)
    with _backward_at_each_site(slots, candidates):
        for step, images in enumerate(_batches(task, passes, seed), start=1):
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr_at(seen, total)
            with torch.no_grad(), autocast(device):
                teacher(images)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += len(images)
            took = time.monotonic() - started
            if (took * total / seen if step == _TRIED else took) > limit_s:
                return False
    for operator in operators:
        operator.to(memory_format=torch.contiguous_format)
    return True


def _batches(task: Task, passes: int, seed: int) -> Iterator[Tensor]:
    for number in range(passes):
        yield from task.calibration_images(task.train_images, seed * 10_007 + number + 1)


@contextmanager
def _backward_at_each_site(slots: Sequence[Slot], candidates: Candidates) -> Iterator[None]:
    """Let a forward of the base network run its sites' operators forward and backward, site by site.

    So no more than one operator's activations are held at a time.
    """
    read: dict[str, Tensor] = {}

    def watch(slot: Slot) -> list[torch.utils.hooks.RemovableHandle]:
        name = slot.site.name

        def before(_: nn.Module, inputs: tuple[Tensor]) -> None:
            read[name] = inputs[0]

        def after(_: nn.Module, __: tuple[Tensor], output: Tensor) -> None:
            x = read.pop(name)
            for operator in candidates[name].values():
                with torch.enable_grad():
                    error = relative_error(operator(x).float(), output.float())
                    error.backward()  # type: ignore[no-untyped-call]

        return [
            slot.conv.register_forward_pre_hook(before),
            slot.bn.register_forward_hook(after),
        ]

    hooks = [hook for slot in slots for hook in watch(slot)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
