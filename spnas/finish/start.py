"""What a found model's full training starts from."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from torch import nn

from spnas.architecture import Architecture
from spnas.errors import ConfigError
from spnas.finish.model import FoundModel
from spnas.networks import load_base_weights
from spnas.training import Library


def starting_model(
    found: FoundModel,
    num_classes: int,
    *,
    weights: str | PathLike[str] | None = None,
    scratch: bool = False,
) -> tuple[nn.Module, str]:
    """Give the model with the weights that its operators inherit from the trained base network.

    With the run's own base network and number of classes, operators that the search had fitted to the base's
    convolutions start from what was fitted; all others from the convolutions' weights, mapped in closed form.

    Args:
        found: The model.
        num_classes: Classes to build with.
        weights: Weights of the trained base network; None for those of the run.
        scratch: Give fresh weights instead.

    Returns:
        The model on the CPU, and what it starts from in words. BatchNorm statistics behind fitted operators are
        a guess.

    Raises:
        ConfigError: The run's weights are not there.
        InputError: The weights cannot be used.
    """
    if scratch:
        return found.document.build(num_classes), "fresh weights"
    source = _base_weights(found) if weights is None else Path(weights)
    model = base_network(found, num_classes)
    load_base_weights(model, source)
    found.document.apply(model, inherit=True)
    how = f"weights inherited from {source}"
    same_classes = found.document.num_classes == num_classes
    if weights is None and same_classes and found.run and found.run.library.is_file():
        Library.load(found.run.library).load_into(model, found.document.architecture)
        how = f"{how}, operators from {found.run.library.name}"
    return model, how


def base_network(found: FoundModel, num_classes: int | None = None) -> nn.Module:
    """Build the base network of a found model, with fresh weights."""
    return replace(found.document, architecture=Architecture(), forms={}).build(num_classes)


def _base_weights(found: FoundModel) -> Path:
    """Name the base network's weights in the run."""
    if found.run is not None and found.run.base_weights.is_file():
        return found.run.base_weights
    where = found.run.base_weights if found.run else f"a run directory around {found.path}"
    raise ConfigError(
        f"expected the trained base network's weights in {where}, found none: give them by --weights, or --scratch "
        "to train from fresh ones"
    )
