"""The deployed form of a network: operators rewritten, every BatchNorm folded. Latency is measured on this form."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spnas.errors import ArchitectureError
from spnas.networks.sites import next_in_sequential, sibling_batchnorm
from spnas.networks.surgery import set_module
from spnas.operators import Operator

# What can take a BatchNorm in, and which one.
_BATCHNORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: nn.BatchNorm2d,
    nn.Linear: nn.BatchNorm1d,
}


def deploy_model(model: nn.Module) -> nn.Module:
    """Give a deep copy in eval mode with no BatchNorm left, equal to the model in eval mode up to rounding.

    Operators give the deployed form that each is set to (`spnas.deploy` chooses them by measuring); an Ultralytics
    model folds the rest by its own `fuse`, any other network by folding each convolution with its BatchNorm.
    """
    deployed = copy.deepcopy(model).eval()
    deploy_operators(deployed)
    fuse = getattr(deployed, "fuse", None)
    if callable(fuse):
        fuse(verbose=False)
    fold_batchnorms(deployed)
    return deployed.eval()


def find_operators(model: nn.Module) -> dict[str, Operator]:
    """Map the names of a model's operators, sites that is, to them."""
    return {name: m for name, m in model.named_modules() if isinstance(m, Operator)}


def set_forms(model: nn.Module, forms: Mapping[str, str]) -> None:
    """Set which deployed form operators give, in place; those of sites that are not named stay as they are.

    Args:
        model: A network with operators.
        forms: Site name to the form's name.

    Raises:
        ArchitectureError: One line for each site without an operator and each form that its operator does not have.
    """
    operators = find_operators(model)
    problems = [
        f"site {site}: {problem}"
        for site, form in forms.items()
        if (problem := _form_problem(operators.get(site), form)) is not None
    ]
    if problems:
        raise ArchitectureError(problems)
    for site, form in forms.items():
        operators[site].form = form


def _form_problem(operator: Operator | None, form: str) -> str | None:
    if operator is None:
        return f"form {form!r} is set, but the site is regular"
    known = operator.forms((1, operator.site.in_channels, 2, 2))
    if form in known:
        return None
    return (
        f"unknown deployed form {form!r} of {operator.choice}, expected one of: {', '.join(known)}"
    )


def deploy_operators(model: nn.Module) -> None:
    """Replace every operator by its deployed form, in place."""
    for name, operator in find_operators(model).items():
        set_module(model, name, operator.eval().deploy().train(model.training))


def fold_batchnorms(model: nn.Module) -> None:
    """Fold each BatchNorm into the convolution or linear layer it follows, in place; it becomes an Identity."""
    pairs = [(parent, *pair) for parent in model.modules() for pair in _foldable_pairs(parent)]
    for parent, layer_name, bn_name in pairs:
        layer, bn = getattr(parent, layer_name), getattr(parent, bn_name)
        fuse = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        setattr(parent, layer_name, fuse(layer, bn))
        setattr(parent, bn_name, nn.Identity())


def _foldable_pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a layer and its BatchNorm: `conv1` and `bn1`, or neighbours in a Sequential."""
    for name, child in parent.named_children():
        if type(child) not in _BATCHNORMS:
            continue
        bn_name = sibling_batchnorm(parent, name) or next_in_sequential(parent, name)
        if bn_name is not None and type(getattr(parent, bn_name)) is _BATCHNORMS[type(child)]:
            yield name, bn_name
