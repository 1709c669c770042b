"""Find the searchable convolutions of a network by its structure, whatever the network.

Two layouts are known, and together they cover Ultralytics' and torchvision's networks:

- a **block** of exactly `conv`, `bn` and `act` (Ultralytics' `Conv`): the site is the block;
- a **pair** of siblings `convN` and `bnN` under one parent (torchvision's ResNets): the site is the convolution.
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


def _walk(module: nn.Module, name: str) -> Iterator[Slot | Operator]:
    """Yield slots and operators depth first, never looking inside either."""
    found = module if isinstance(module, Operator) else _block_slot(module, name)
    if found is not None:
        yield found
        return
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        pair = _pair_slot(module, child_name, path)
        if pair is not None:
            yield pair
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
    """Read a convolution whose BatchNorm is its sibling."""
    conv = getattr(parent, conv_name)
    bn_name = sibling_batchnorm(parent, conv_name)
    if bn_name is None or not _is_searchable(conv):
        return None
    bn: nn.BatchNorm2d = getattr(parent, bn_name)
    host = Host(
        act=_sibling_act(parent, conv_name),
        applies_act=True,
        bn_eps=bn.eps,
        bn_momentum=bn.momentum,
    )
    prefix = path.removesuffix(conv_name)
    return Slot(_site(path, conv), host, conv, bn, bn_name=prefix + bn_name)


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
