"""Put an architecture's operators into a network: plan everything, then replace module by module."""

from __future__ import annotations

import difflib

from torch import nn

from spnas.architecture import Architecture
from spnas.errors import ArchitectureError
from spnas.networks.sites import Slot, find_slots, list_sites
from spnas.networks.yolo import record_architecture
from spnas.operators import Operator, build_operator, refusal

# Ultralytics hangs these on each layer: its index, where its input comes from, its type and its parameter count.
_LAYER_ATTRIBUTES = ("i", "f", "type", "np")


def apply_architecture(
    model: nn.Module, architecture: Architecture, *, inherit: bool = True
) -> nn.Module:
    """Replace the sites that are not regular, in place; regular sites are not touched.

    Device, dtype, train or eval mode and `requires_grad` of each replaced module are kept. Nothing is changed where
    any choice cannot be made.

    Args:
        model: A base network.
        architecture: What to put at which site.
        inherit: Let each operator start from the weights of the convolution and BatchNorm it replaces; otherwise it
            keeps its fresh ones.

    Returns:
        The model itself.

    Raises:
        ArchitectureError: One line for every site that does not exist and every choice that is refused.
    """
    slots = {slot.site.name: slot for slot in find_slots(model)}
    check_architecture(model, architecture)
    for name in architecture:
        put_operator(model, slots[name], _operator(slots[name], architecture, inherit))
    _recount(model)
    record_architecture(model, architecture)
    return model


def check_architecture(model: nn.Module, architecture: Architecture) -> None:
    """Check that every choice can be made in this network.

    Raises:
        ArchitectureError: One line for every site that does not exist, is replaced already, or refuses its choice.
    """
    slots = {slot.site.name: slot for slot in find_slots(model)}
    names = [site.name for site in list_sites(model)]
    problems: list[str] = []
    for name, choice in architecture.items():
        if name not in names:
            problems.append(_unknown_site(name, names))
        elif name not in slots:
            problems.append(f"site {name} holds an operator already, start from the base network")
        else:
            site = slots[name].site
            reason = refusal(choice, site)
            if reason is not None:
                problems.append(f"{site}: {choice} is refused: {reason}")
    if problems:
        raise ArchitectureError(problems)


def _unknown_site(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3)
    known = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(names[:3])}, ..."
    return f"unknown site {name}: {known} ({len(names)} sites)"


def _operator(slot: Slot, architecture: Architecture, inherit: bool) -> Operator:
    """Build a slot's operator, alike in device, dtype, mode and requires_grad."""
    operator = build_operator(architecture[slot.site.name], slot.site, slot.host)
    operator.to(device=slot.conv.weight.device, dtype=slot.conv.weight.dtype)
    if inherit:
        operator.inherit(slot.conv, slot.bn)
    if not slot.conv.weight.requires_grad:
        operator.requires_grad_(False)
    return operator.train(slot.bn.training)


def put_operator(model: nn.Module, slot: Slot, operator: Operator) -> None:
    """Put the operator in the place of the slot's module and take the BatchNorm left behind out."""
    set_module(model, slot.site.name, operator)
    if slot.bn_name is not None:
        model.set_submodule(slot.bn_name, nn.Identity())


def set_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Replace a module by another that keeps its place in an Ultralytics model."""
    # `type` is also a method of nn.Module: hasattr would find it bound to the old module and keep that one alive.
    old = vars(model.get_submodule(name))
    kept = {attribute: old[attribute] for attribute in _LAYER_ATTRIBUTES if attribute in old}
    if "type" in kept:
        kept["type"] = f"{type(new).__module__}.{type(new).__qualname__}"
    vars(new).update(kept)
    model.set_submodule(name, new)


def _recount(model: nn.Module) -> None:
    """Bring the parameter counts that Ultralytics keeps on its layers up to date."""
    for module in model.modules():
        if "np" in vars(module):
            vars(module)["np"] = sum(parameter.numel() for parameter in module.parameters())
