"""Start operators from a trained base network's convolutions: inherited or, where that does better, least squares."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from spnas.architecture import REGULAR, Choice
from spnas.networks.sites import Slot
from spnas.operators import Operator, build_operator
from spnas.operators.least_squares import PIXELS, plain_output
from spnas.tasks.base import Task

_SAMPLE = 96  # images, at most, that operators are fitted on, and as many that they are judged on
_FITTED_ON, _JUDGED_ON = 0, 2**31  # seeds of how these are augmented
_FEWEST = 4  # images that are kept of what a site reads, however large its maps

Candidates = dict[str, dict[Choice, Operator]]


def fitted_candidates(
    teacher: nn.Module,
    slots: Sequence[Slot],
    choices: Mapping[str, Sequence[Choice]],
    task: Task,
    deadline: float = math.inf,
) -> tuple[Candidates, Judge] | None:
    """Start every choice but the regular one, at every site.

    Args:
        teacher: The trained base network in eval mode, on the task's device.
        slots: Its sites.
        choices: The choices of each, by the site's name.
        task: Gives training images.
        deadline: On the clock `time.monotonic`, when it is given up.

    Returns:
        The operators, and a judge of what becomes of them; None where it was given up.
    """
    inputs, unseen = (
        record_inputs(teacher, slots, task.calibration_images(_SAMPLE, seed))
        for seed in (_FITTED_ON, _JUDGED_ON)
    )
    judge = Judge(slots, unseen)

    @torch.no_grad()
    def start(slot: Slot, choice: Choice) -> Operator:
        inherited, fitted = start_operator(slot, choice), start_operator(slot, choice)
        inherited.inherit(slot.conv, slot.bn)
        fitted.fit(slot.conv, slot.bn, inputs[slot.site.name])
        return judge.better(slot.site.name, inherited, fitted)

    candidates: Candidates = {slot.site.name: {} for slot in slots}
    for slot in slots:
        for choice in choices[slot.site.name]:
            if time.monotonic() > deadline:
                return None
            if choice != REGULAR:
                candidates[slot.site.name][choice] = start(slot, choice)
    return candidates, judge


class Judge:
    """Tells which of two operators is nearer to the convolution that they stand in for.

    Args:
        slots: The convolutions.
        inputs: What each reads, on images that no operator was fitted on in that form, `(N, Cin, H, W)` by site.
    """

    def __init__(self, slots: Sequence[Slot], inputs: Mapping[str, Tensor]) -> None:
        self._slots = {slot.site.name: slot for slot in slots}
        self._inputs = inputs

    @torch.no_grad()
    def better(self, site: str, one: Operator, other: Operator) -> Operator:
        """Give the operator with the lower error; the first one where they are equal."""
        slot, inputs = self._slots[site], self._inputs[site]
        errors = [float(output_error(operator, slot, inputs)) for operator in (one, other)]
        return other if errors[1] < errors[0] else one

    def best(self, some: Candidates, others: Candidates) -> Candidates:
        """Give the better operator of each pair."""
        return {
            site: {
                choice: self.better(site, operator, others[site][choice])
                for choice, operator in of.items()
            }
            for site, of in some.items()
        }


def start_operator(slot: Slot, choice: Choice) -> Operator:
    """Build the operator of a choice that ends before the activation, on the device of the slot's convolution."""
    host = replace(slot.host, act=copy.deepcopy(slot.host.act), applies_act=True)
    return build_operator(choice, slot.site, host).to(slot.conv.weight.device)


def output_error(operator: Operator, slot: Slot, inputs: Tensor) -> Tensor:
    """Give the squared error of an operator's output to the plain one's, before the activation, over its variance.

    Batch statistics are used, as after a re-estimation; the operator's running statistics move.
    """
    return relative_error(operator.train()(inputs), plain_output(slot.conv, slot.bn, inputs))


def relative_error(made: Tensor, wanted: Tensor) -> Tensor:
    """Give the mean squared error of maps `(N, C, H, W)` over the mean variance of the wanted channels."""
    variance = (wanted - wanted.mean((0, 2, 3), keepdim=True)).square().mean()
    return (made - wanted).square().mean() / variance.clamp(min=1e-12)


@torch.no_grad()
def record_inputs(
    teacher: nn.Module, slots: Sequence[Slot], images: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Run the base network on images until enough is known of what its convolutions read.

    Args:
        teacher: The base network in eval mode.
        slots: The convolutions.
        images: Batches `(N, 3, H, W)`.

    Returns:
        Inputs `(N, Cin, H, W)` by site: of as few images as give `PIXELS` output pixels, but of at least 4.
    """
    kept: dict[str, list[Tensor]] = {slot.site.name: [] for slot in slots}
    wanted = dict.fromkeys(kept, _FEWEST)

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            wanted[name] = max(_FEWEST, -(-PIXELS // output[0, 0].numel()))
            missing = wanted[name] - sum(map(len, kept[name]))
            if missing > 0:
                kept[name].append(inputs[0][:missing].clone())

        return hook

    hooks = [slot.conv.register_forward_hook(keep(slot.site.name)) for slot in slots]
    try:
        for batch in images:
            teacher(batch)
            if all(sum(map(len, parts)) >= wanted[name] for name, parts in kept.items()):
                break
    finally:
        for handle in hooks:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in kept.items()}
