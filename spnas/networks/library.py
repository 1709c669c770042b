"""Operators fitted to the trained convolutions they would replace, each fitted once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from spnas.architecture import Architecture, Choice
from spnas.networks.sites import Slot, find_slots
from spnas.networks.surgery import apply_architecture, check_architecture
from spnas.operators import build_operator
from spnas.operators.least_squares import PIXELS


class OperatorLibrary:
    """Builds architectures of a trained base network out of operators fitted to it.

    A fit depends on the convolution that is replaced and on what that reads in the base network, not on the rest of an
    architecture: each is made when it is first asked for, and from then on copied.

    Args:
        base: The trained base network, on the CPU; it is not changed.
        images: Gives batches `(N, 3, H, W)` as the network is trained on, the same ones each time. Operators are fitted
            on their device.
    """

    def __init__(self, base: nn.Module, images: Callable[[], Iterable[Tensor]]) -> None:
        self._base = base
        self._images = images
        self._states: dict[tuple[str, Choice], dict[str, Tensor]] = {}

    def assemble(self, architecture: Architecture) -> nn.Module:
        """Build an architecture on the CPU; regular sites are the base's own.

        Raises:
            ArchitectureError: One line for every site that does not exist and every choice that is refused.
        """
        check_architecture(self._base, architecture)
        missing = {
            name: choice
            for name, choice in architecture.items()
            if (name, choice) not in self._states
        }
        if missing:
            self._fit(missing)
        model = apply_architecture(copy.deepcopy(self._base), architecture, inherit=False)
        for name, choice in architecture.items():
            model.get_submodule(name).load_state_dict(self._states[name, choice])
        return model

    @torch.no_grad()
    def _fit(self, choices: Mapping[str, Choice]) -> None:
        """Fit one operator at each of these sites."""
        teacher = copy.deepcopy(self._base).eval()
        slots = [slot for slot in find_slots(teacher) if slot.site.name in choices]
        inputs = record_inputs(teacher, slots, self._images())
        for slot in slots:
            name = slot.site.name
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # for weights that a fit leaves as they are
                operator = build_operator(choices[name], slot.site, slot.host)
            operator.to(slot.conv.weight.device).eval()
            operator.fit(slot.conv, slot.bn, inputs.pop(name))
            state = operator.state_dict()
            self._states[name, choices[name]] = {key: value.cpu() for key, value in state.items()}


@torch.no_grad()
def record_inputs(
    model: nn.Module, slots: Sequence[Slot], images: Iterable[Tensor]
) -> dict[str, Tensor]:
    """Run a network on images until enough is known of what its convolutions read.

    Args:
        model: In eval mode; it is moved to the images' device.
        slots: The convolutions.
        images: Batches `(N, 3, H, W)`; where maps are large, not all are used.

    Returns:
        Inputs `(N, Cin, H, W)` by site, whole batches, as few as give `PIXELS` output pixels.
    """
    kept: dict[str, list[Tensor]] = {slot.site.name: [] for slot in slots}
    pixels = dict.fromkeys(kept, 0)

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            if pixels[name] < PIXELS:
                kept[name].append(inputs[0])
                pixels[name] += output[:, 0].numel()

        return hook

    hooks = [slot.conv.register_forward_hook(keep(slot.site.name)) for slot in slots]
    for batch in images:
        model.to(batch.device)(batch)
        if min(pixels.values()) >= PIXELS:
            break
    for handle in hooks:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in kept.items()}
