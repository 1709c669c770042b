"""The deployed form of a network: operators rewritten, every BatchNorm folded. Latency is measured on this form."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spnas.networks.sites import sibling_batchnorm
from spnas.networks.surgery import set_module
from spnas.operators import Operator


def deploy_model(model: nn.Module) -> nn.Module:
    """Give a deep copy in eval mode with no BatchNorm left, equal to the model in eval mode up to rounding.

    Operators give their deploy form; an Ultralytics model folds the rest by its own `fuse`, any other network by
    folding each convolution with its BatchNorm.
    """
    deployed = copy.deepcopy(model).eval()
    deploy_operators(deployed)
    fuse = getattr(deployed, "fuse", None)
    if callable(fuse):
        fuse(verbose=False)
    fold_batchnorms(deployed)
    return deployed.eval()


def deploy_operators(model: nn.Module) -> None:
    """Replace every operator by its deploy form, in place."""
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Operator)]
    for name, operator in found:
        set_module(model, name, operator.eval().deploy().train(model.training))


def fold_batchnorms(model: nn.Module) -> None:
    """Fold each convolution with the BatchNorm that follows it, in place; the BatchNorm becomes an Identity."""
    pairs = [
        (parent, *pair) for parent in model.modules() for pair in _conv_batchnorm_pairs(parent)
    ]
    for parent, conv_name, bn_name in pairs:
        conv, bn = getattr(parent, conv_name), getattr(parent, bn_name)
        setattr(parent, conv_name, fuse_conv_bn_eval(conv, bn))
        setattr(parent, bn_name, nn.Identity())


def _conv_batchnorm_pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a convolution and its BatchNorm: `conv1` and `bn1`, or neighbours in a Sequential."""
    following = dict(itertools.pairwise(name for name, _ in parent.named_children()))
    for name, child in parent.named_children():
        if type(child) is not nn.Conv2d:
            continue
        bn_name = sibling_batchnorm(parent, name)
        if bn_name is None and isinstance(parent, nn.Sequential):
            bn_name = following.get(name)
        if bn_name is not None and isinstance(getattr(parent, bn_name), nn.BatchNorm2d):
            yield name, bn_name
