"""Precision of the features."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from blurvid.errors import OptionError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Where the instructions are missing, mkldnn emulates bfloat16, slower than float32.
        cpu = torch.cpu
        return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    return False


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn `auto`, `fp32`, `bf16` or `fp16` into the dtype of the features.

    Images, statistics and residual sums stay in float32 whatever is chosen.

    Raises:
        OptionError: no such precision, or fp16 on a CPU.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    if name not in PRECISIONS:
        raise OptionError(f"no precision named {name!r}; use auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise OptionError("fp16 has no fast kernels on a CPU; use bf16 or fp32")
    return PRECISIONS[name]


def autocast(
    device: torch.device, dtype: torch.dtype, *, keep_casts: bool = True
) -> AbstractContextManager[object]:
    """Run matrix products and convolutions in `dtype`; a no-op for float32.

    Args:
        device: where.
        dtype: of the features.
        keep_casts: keep the cast weights until the end of the block, those that are trained.
    """
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype, cache_enabled=keep_casts)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The precision that `autocast` has set for the block at hand."""
    on = torch.is_autocast_enabled(device.type)
    return torch.get_autocast_dtype(device.type) if on else torch.float32
