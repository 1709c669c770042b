"""Checks that a network gives in a runtime what it gives in torch: a wrong network's latency is worth nothing.

In half precision a network is off by as much as the rounding of its own weights is amplified from layer to layer: with
trained weights by about 1e-3 (float16) to 1e-2 (bfloat16) of the largest output, with fresh ones by up to the whole of
it. No one number parts that from a wrong network. So what is allowed is measured on the network itself: how far torch
in float32 goes off when nothing but weights and input are rounded.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spnas.errors import SpnasError

_CPU = torch.device("cpu")
# Allowed whatever the network: of a channel's largest value.
TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_OVERFLOW = ": float16 may overflow with fresh weights, a float32 runtime does not"
# Allowed besides in half precision: so many times what rounding weights and input alone does.
AMPLIFIED = 4.0
# A channel smaller than this share of the tensor's largest value counts as that large: in a tensor of boxes and class
# scores the scores are seen, the rounding errors of channels that are zero but for them are not.
FLOOR = 1e-2


@dataclass(frozen=True)
class Expected:
    """What a network is expected to give.

    Attributes:
        exact: The tensors of its output in torch in float32, on the CPU.
        allowed: How far each may be off, as a share of the largest value.
        dtype: What the runtime calculates in.
    """

    exact: list[Tensor]
    allowed: list[float]
    dtype: torch.dtype


def effective_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Give the type that has the precision which a device calculates a type in.

    CUDA convolves float32 in TF32 unless told otherwise, by torch, ONNX Runtime and TensorRT alike: 10 bits of mantissa
    as in float16 (https://docs.pytorch.org/docs/stable/notes/cuda.html).
    """
    tf32 = device.type == "cuda" and dtype == torch.float32
    return torch.float16 if tf32 else dtype


@torch.inference_mode()
def expect(
    network: nn.Module, example: Tensor, dtype: torch.dtype, device: torch.device = _CPU
) -> Expected:
    """Calculate in float32 what a network is expected to give in a dtype.

    Args:
        network: The network, in eval mode, float32, on the CPU; left as it is.
        example: An input `(N, C, H, W)` of the same kind.
        dtype: What the runtime calculates in, see `effective_dtype`.
        device: Where it runs. On CUDA this is calculated there, in true float32: a batch of a large network would take
            a CPU minutes. Elsewhere on the CPU.
    """
    where = device if device.type == "cuda" else _CPU
    model, image = copy.deepcopy(network).to(where), example.to(where)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        exact = _on_cpu(model(image))
        if dtype == torch.float32:
            return Expected(exact, [TOLERANCES[dtype]] * len(exact), dtype)
        rounded = _on_cpu(model.to(dtype).float()(image.to(dtype).float()))
    outputs = zip(exact, rounded, strict=True)
    allowed = [TOLERANCES[dtype] + AMPLIFIED * error(own, off) for own, off in outputs]
    return Expected(exact, allowed, dtype)


def _on_cpu(output: Any) -> list[Tensor]:
    return [tensor.cpu() for tensor in tensors(output)]


@torch.inference_mode()
def check_output(runtime: str, output: Any, expected: Expected) -> float:
    """Compare a runtime's output, tensors or arrays in any nesting, with what is expected.

    Returns:
        The largest error, as a share of the largest value of its channel, see `error`.

    Raises:
        SpnasError: It is another number of tensors, another shape, or off by more than is allowed.
    """
    got = [torch.as_tensor(item).cpu().float() for item in tensors(output)]
    own, other = ([tuple(tensor.shape) for tensor in some] for some in (got, expected.exact))
    if own != other:
        raise SpnasError(f"runtime {runtime}: expected torch's output {other}, got {own}")
    errors = [error(*pair) for pair in zip(expected.exact, got, strict=True)]
    for off, allowed in zip(errors, expected.allowed, strict=True):
        if not off <= allowed:  # NaN too
            lost = expected.dtype == torch.float16 and not math.isfinite(off)
            raise SpnasError(
                f"runtime {runtime}: expected torch's float32 output within {allowed:.1e} of a channel's "
                f"largest value ({_name(expected.dtype)} precision), got {off:.1e} off"
                f"{_OVERFLOW if lost else ''}"
            )
    return max(errors)


def error(exact: Tensor, other: Tensor) -> float:
    """Give the largest difference as a share of the largest exact value of its channel, dimension 1.

    A channel counts as no smaller than `FLOOR` of the tensor. `(N, C)` has no channels: the share is of the whole.
    """
    within = [dim for dim in range(exact.ndim) if dim != 1 or exact.ndim < 3]
    size, off = (part.abs().amax(within) for part in (exact, other - exact))
    size = size.clamp(min=FLOOR * float(size.max()))
    # Where all is zero, it has to be zero.
    return float(torch.where(off == 0, 0.0, off / size).max())


def tensors(output: Any) -> Iterator[Any]:
    """Yield the tensors or arrays of a network's output, in order: YOLOv8's is a tuple with a dictionary of lists."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        for item in output:
            yield from tensors(item)
    else:
        yield output


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
