"""Which device, and what is different from one to another."""

from __future__ import annotations

import contextlib
import re

import torch
from torch import Tensor, nn

from blurvid.errors import DeviceError, OptionError


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda[:N]` or `mps` into a device that is there.

    Raises:
        OptionError: not the name of a device.
        DeviceError: the device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    match = re.fullmatch(r"(cpu|mps|cuda)(?:(?<=cuda):([0-9]{1,3}))?", name)
    if match is None:
        raise OptionError(f"no device named {name!r}; use auto, cpu, cuda, cuda:N or mps")
    kind, index = match.groups()
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device on this machine; use --device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"{name} is not there; this machine has cuda:0 to cuda:{count - 1}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("no MPS device on this machine; use --device cpu or auto")
    return torch.device(kind, int(index)) if index else torch.device(kind)


def describe(device: torch.device) -> str:
    """Name the device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, in the memory format that is fast there.

    Convolutions like channels-last; torch's group norm on a CPU is many times slower in it
    (measured 3x over the whole middle network), so models with norms stay contiguous there.
    """
    normed = any(isinstance(module, nn.GroupNorm) for module in model.modules())
    plain = normed and device.type == "cpu"
    memory_format = torch.contiguous_format if plain else torch.channels_last
    return model.to(device, memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def release(device: torch.device) -> None:
    """Give memory back that torch keeps of a device for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def to_host(values: Tensor, pinned: bool) -> Tensor:
    """Bring values to the memory of the CPU in one transfer; those there already stay.

    Args:
        values: on any device.
        pinned: into memory that the device can write to itself, which is several times as fast.
            To make such memory takes longer than that saves; but torch keeps it for the next time.
    """
    if values.device.type == "cpu":
        return values
    if pinned and values.device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # the system may not give so much of it
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            return host.copy_(values)
    return values.cpu()
