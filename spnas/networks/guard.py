"""Building a network from a file that a stranger may have written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from spnas.errors import InputError, ModelFileError

MOST_PARAMETERS = 1_000_000_000  # ten times the largest network here


@contextmanager
def guarded_build() -> Iterator[None]:
    """Turn whatever building a network raises into an error of the file, and end it where the network gets too large.

    Raises:
        ModelFileError: It cannot be built, or has more than a billion parameters.
    """
    parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += 0 if parameter is None else parameter.numel()
        if (
            parameters > MOST_PARAMETERS
        ):  # before it is filled: memory that nobody wrote to takes none
            raise ModelFileError(f"the network has more than {MOST_PARAMETERS} parameters")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Ultralytics and torch raise anything of numbers that do not fit
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelFileError(f"the network cannot be built: {reason:.300}") from None
    finally:
        hook.remove()
