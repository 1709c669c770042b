"""How much each choice at each site would hurt, before any training: scores that add up over the sites.

A choice changes the output of its site by d, and to first order an image's loss by `g d`, g being its gradient at that
output. A choice is scored by the root of that change's mean square over images, so that one backward pass of the base
network and one forward of each operator, on the site's own inputs, tell of all choices in one unit.

The mean square itself is twice the loss that is added to second order (Theis et al., Faster gaze prediction with dense
networks and Fisher pruning, 2018, https://arxiv.org/abs/1801.05787, equation 7, with whole operators in the place of
feature maps). It foretells the loss before training well; but a choice that hurts much at first is made good by
training for the most part, and the sum of roots ranks what was trained far better, see docs/search.md.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from spnas.architecture import REGULAR, Choice
from spnas.networks.sites import Slot, find_slots
from spnas.networks.surgery import put_operator
from spnas.operators import Host, build_operator
from spnas.tasks.base import Task
from spnas.training.library import Library

Scores = dict[str, dict[Choice, float]]

_PIXELS = 32 * 160**2  # of a batch: enough to tell, little enough for any machine
_FEWEST_IMAGES, _MOST_IMAGES = 8, 64


@dataclass
class _Seen:
    """What a site read and wrote in the base network's forward, and the loss's gradient there, all `(N, C, H, W)`."""

    read: Tensor
    wrote: Tensor
    gradient: Tensor


def choice_scores(
    base: nn.Module,
    choices: Mapping[str, Sequence[Choice]],
    task: Task,
    *,
    imgsz: int,
    seed: int,
    library: Library | None = None,
) -> Scores:
    """Score each choice of each site by how much it would change the loss as trials start with it.

    Args:
        base: The trained base network on the task's device; it is left as it is.
        choices: The choices of each site, by the site's name.
        task: Gives training images and the loss.
        imgsz: Size of the images, pixels; large ones are fewer.
        seed: Of the images' order and augmentation, and of what operators draw.
        library: Operators that trials start from; None, or what it does not hold, for inherited weights.

    Returns:
        Minus the root mean square, over images, of the change; 0 for the regular choice, the lower the worse.
    """
    device = next(base.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = copy.deepcopy(base)
        slots = {slot.site.name: slot for slot in find_slots(base) if slot.site.name in choices}
        seen = _look(network, slots, task, imgsz, seed)
        return {
            name: {
                choice: -_change_of_loss(slots[name], choice, seen[name], library)
                for choice in offered
            }
            for name, offered in choices.items()
        }


def _look(
    network: nn.Module, slots: Mapping[str, Slot], task: Task, imgsz: int, seed: int
) -> dict[str, _Seen]:
    """Run one batch forward and backward; every site is made an operator, whose output others can be compared with."""
    for slot in find_slots(network):
        if slot.site.name in slots:
            operator = build_operator(REGULAR, slot.site, slot.host).to(slot.conv.weight.device)
            operator.inherit(slot.conv, slot.bn)
            put_operator(network, slot, operator)
    task.attach(network)
    network.train()
    seen: dict[str, _Seen] = {}

    def note(name: str) -> None:
        def forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen[name] = _Seen(inputs[0].detach(), output.detach().clone(), torch.empty(0))
            keep = functools.partial(setattr, seen[name], "gradient")
            output.register_hook(keep)  # type: ignore[no-untyped-call]
            return output.clone()  # what follows may work in place

        network.get_submodule(name).register_forward_hook(forward)

    for name in slots:
        note(name)
    images = min(max(_PIXELS // imgsz**2, _FEWEST_IMAGES), _MOST_IMAGES, task.train_images)
    batch = next(iter(task.train_batches(max(2, images), seed)))
    task.loss(network, batch).backward()  # type: ignore[no-untyped-call]
    return seen


@torch.no_grad()
def _change_of_loss(slot: Slot, choice: Choice, seen: _Seen, library: Library | None) -> float:
    """Foretell by how much one choice changes an image's loss: the root mean square of gradient . change."""
    if choice == REGULAR:
        return 0.0
    host: Host = replace(slot.host, act=copy.deepcopy(slot.host.act))
    operator = build_operator(choice, slot.site, host).to(seen.read.device)
    operator.inherit(slot.conv, slot.bn)
    if library is not None:
        library.load_operator(operator, slot.site.name, choice)
    changed = operator.train()(seen.read) - seen.wrote
    images = len(changed)
    # The loss is a mean over images; an image's own gradient is that times their number.
    own = images * (seen.gradient * changed).flatten(1).sum(1)
    return float(own.cpu().double().square().mean().sqrt())
