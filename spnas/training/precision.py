"""Which number format a device trains fastest in."""

from __future__ import annotations

import torch


def autocast(device: torch.device) -> torch.autocast:
    """Give a context that computes convolutions in bfloat16 where the device does so natively, else in float32.

    Emulated, bfloat16 is slower than float32. Weights are used once in a forward and need not be kept in bfloat16,
    which CUDA graphs could not replay.
    """
    enabled = _has_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
