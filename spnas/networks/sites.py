"""Find the searchable convolutions of a network by its structure, whatever the network.

Three layouts are known, and together they cover Ultralytics' and most of torchvision's networks:

- a **block** of exactly `conv`, `bn` and `act` (Ultralytics' `Conv`): the site is the block;
- a **pair** of siblings `convN` and `bnN` under one parent (torchvision's ResNets): the site is the convolution;
- **neighbours** in a `Sequential`, a convolution, a BatchNorm and maybe an activation (torchvision's VGG, and all that
  it builds with `Conv2dNormActivation`): the site is the convolution.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from torch import nn

from spnas.architecture import ConvSite
from spnas.operators import Host, Operator

_BLOCK = {"conv", "bn", "act"}
_PAIR = re.compile(r"conv(\d+)")
# What an operator may use inside on any number of channels; anything else in a Sequential counts as no activation.
_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardtanh,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
)


@dataclass(frozen=True)
class Slot:
    """A searchable convolution in its host, still regular.

    Attributes:
        site: Its name and shape.
        host: What surrounds it.
        conv: The convolution.
        bn: The BatchNorm after it.
        bn_name: Dotted path of a BatchNorm that stays behind when the site's module is replaced; None in a block.
    """

    site: ConvSite
    host: Host
    conv: nn.Conv2d
    bn: nn.BatchNorm2d
    bn_name: str | None = None


def find_slots(model: nn.Module) -> list[Slot]:
    """List the convolutions an operator can take the place of, in the order of `named_modules`."""
    return [item for item in _walk(model, "") if isinstance(item, Slot)]


def list_sites(model: nn.Module) -> list[ConvSite]:
    """List a network's sites, those that hold an operator already included, in the order of `named_modules`."""
    return [item.site for item in _walk(model, "")]


def sibling_batchnorm(parent: nn.Module, conv_name: str) -> str | None:
    """Name the BatchNorm that belongs to a child convolution by its name, `bn2` to `conv2`; None if there is none."""
    match = _PAIR.fullmatch(conv_name)
    name = f"bn{match[1]}" if match else ""
    return name if isinstance(getattr(parent, name, None), nn.BatchNorm2d) else None


def next_in_sequential(parent: nn.Module, name: str) -> str | None:
    """Name the child of a Sequential that reads a child's output; None for the last one, and in any other parent.

    A subclass of Sequential counts while its forward is Sequential's.
    """
    if type(parent).forward is not nn.Sequential.forward:
        return None
    # Not named_children(): that leaves out a module that stands in two places, as an activation may.
    names = list(parent._modules)
    place = names.index(name) + 1
    return names[place] if place < len(names) else None


def _walk(module: nn.Module, name: str) -> Iterator[Slot | Operator]:
    """Yield slots and operators depth first, never looking inside either, nor into what merges its own branches."""
    if hasattr(module, "fuse_convs"):
        return  # Ultralytics' RepConv: an operator inside could not be merged with the branches beside it
    found = module if isinstance(module, Operator) else _block_slot(module, name)
    if found is not None:
        yield found
        return
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        slot = _pair_slot(module, child_name, path) or _neighbour_slot(module, child_name, path)
        if slot is not None:
            yield slot
        else:
            yield from _walk(child, path)


def _block_slot(module: nn.Module, name: str) -> Slot | None:
    """Read a block of conv, bn and act."""
    if {child for child, _ in module.named_children()} != _BLOCK:
        return None
    conv, bn = module.conv, module.bn
    if not _is_searchable(conv) or not isinstance(bn, nn.BatchNorm2d):
        return None
    act = module.get_submodule("act")
    host = Host(
        act=None if isinstance(act, nn.Identity) else act, bn_eps=bn.eps, bn_momentum=bn.momentum
    )
    return Slot(_site(name, conv), host, conv, bn)


def _pair_slot(parent: nn.Module, conv_name: str, path: str) -> Slot | None:
    """Read a convolution whose BatchNorm is its sibling by name."""
    bn_name = sibling_batchnorm(parent, conv_name)
    if bn_name is None:
        return None
    return _conv_slot(parent, path, bn_name, _sibling_act(parent, conv_name))


def _neighbour_slot(parent: nn.Module, conv_name: str, path: str) -> Slot | None:
    """Read a convolution whose BatchNorm comes next in a Sequential."""
    bn_name = next_in_sequential(parent, conv_name)
    if bn_name is None:
        return None
    act_name = next_in_sequential(parent, bn_name)
    act = parent.get_submodule(act_name) if act_name is not None else None
    return _conv_slot(parent, path, bn_name, act if isinstance(act, _ACTIVATIONS) else None)


def _conv_slot(parent: nn.Module, path: str, bn_name: str, act: nn.Module | None) -> Slot | None:
    """Read the convolution at a path, its BatchNorm a child of the same parent, where the parent applies `act`."""
    prefix, _, conv_name = path.rpartition(".")
    conv, bn = parent.get_submodule(conv_name), parent.get_submodule(bn_name)
    if not _is_searchable(conv) or not isinstance(bn, nn.BatchNorm2d):
        return None
    host = Host(act=act, applies_act=True, bn_eps=bn.eps, bn_momentum=bn.momentum)
    return Slot(_site(path, conv), host, conv, bn, f"{prefix}.{bn_name}" if prefix else bn_name)


def _sibling_act(parent: nn.Module, conv_name: str) -> nn.Module | None:
    """Give the activation the parent applies right after the pair; a residual block adds first after its last pair."""
    pairs = [name for name, _ in parent.named_children() if sibling_batchnorm(parent, name)]
    if hasattr(parent, "downsample") and conv_name == pairs[-1]:
        return None
    act = getattr(parent, "relu", None)
    return act if isinstance(act, nn.Module) else None


def _is_searchable(conv: object) -> TypeGuard[nn.Conv2d]:
    """Whether this is a plain square k x k convolution, k > 1, that a ConvSite can describe."""
    if type(conv) is not nn.Conv2d or isinstance(conv.padding, str):
        return False
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    square = all(pair[0] == pair[1] for pair in shape)
    return square and conv.kernel_size[0] > 1 and conv.groups == 1 and conv.padding_mode == "zeros"


def _site(name: str, conv: nn.Conv2d) -> ConvSite:
    return ConvSite(
        name=name,
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        kernel_size=conv.kernel_size[0],
        stride=conv.stride[0],
        padding=int(conv.padding[0]),
        dilation=conv.dilation[0],
    )
