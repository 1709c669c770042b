"""Load trained weights into a network: spnas' own files, and Ultralytics' checkpoints for YOLO."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spnas.errors import InputError
from spnas.networks.yolo import is_yolo, read_checkpoint

_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError)


def load_base_weights(model: nn.Module, path: str | PathLike[str]) -> bool:
    """Load trained weights of the same network, in place.

    A file of tensors (`torch.save(model.state_dict(), path)`) is read without running any code of it. For a YOLO
    network an Ultralytics checkpoint (`best.pt`) is accepted too: it is a pickle, which can run code when it is loaded,
    so use only files you trust.

    Where the file was trained with another number of classes, the layers whose shape depends on it keep the weights
    they have.

    Args:
        model: The network to load into.
        path: The file.

    Returns:
        Whether all weights are the file's now.

    Raises:
        InputError: There is no such file, it holds no weights, or those of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights: no such file: {path}")
    own = model.state_dict()
    given = _read_tensors(path, checkpoint=is_yolo(model))
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    same_names = given.keys() == own.keys()
    complete = same_names and len(fitting) == len(own)
    if not complete and not (same_names and _other_classes(own, given, fitting)):
        raise InputError(
            f"weights: {path} is for another network: {len(fitting)} of this network's {len(own)} tensors are in it "
            f"with the same name and shape, of {len(given)} in the file"
        )
    model.load_state_dict(fitting, strict=False)
    return complete


def is_tensor_file(path: Path) -> bool:
    """Whether a file holds tensors by name, as spnas writes them, and is no checkpoint of Ultralytics."""
    try:
        _checked(torch.load(path, map_location="meta", weights_only=True))
    except (*_UNREADABLE, OSError):
        return False
    return True


def _other_classes(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], fitting: Mapping[str, Tensor]
) -> bool:
    """Whether they differ as one network with two numbers of classes does: mostly equal, but not in the last bias."""
    last_bias = [name for name in own if name.endswith(".bias")][-1]
    return own[last_bias].shape != given[last_bias].shape and 2 * len(fitting) > len(own)


def _read_tensors(path: Path, *, checkpoint: bool) -> dict[str, Tensor]:
    """Read a file's tensors by name; a pickled Ultralytics checkpoint only where one is acceptable."""
    try:
        return _checked(torch.load(path, map_location="cpu", weights_only=True))
    except _UNREADABLE as error:
        if not checkpoint or path.suffix != ".pt":
            raise _unreadable(path, "torch.save(model.state_dict(), ...)", error) from None
    try:
        return read_checkpoint(path)
    except (*_UNREADABLE, AttributeError, ImportError) as error:
        raise _unreadable(path, "Ultralytics", error) from None


def _checked(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise TypeError(f"expected a dictionary of tensors, got {type(content).__name__}")
    wrong = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise TypeError(f"expected a dictionary of tensors, {wrong[0]!r} is none")
    return dict(content)


def _unreadable(path: Path, writer: str, error: Exception) -> InputError:
    # What torch says of a file it refuses is advice to load it all the same.
    refused = isinstance(error, pickle.UnpicklingError)
    lines = (
        ["it is no torch file, or holds more than tensors"] if refused else str(error).splitlines()
    )
    reason = next(iter(lines), type(error).__name__)
    return InputError(f"weights: {path} is not a file of weights saved by {writer}: {reason}")
