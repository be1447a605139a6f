"""Memory for what is needed for a moment, again and again."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor


class _Scratch(threading.local):
    """Buffers of a thread, each under its name.

    For maps of a few megabytes, new pages from the system cost more than the work on them.
    """

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *size: int) -> Tensor:
        """Get a buffer of float32 on the CPU; its values are those left from last time."""
        values = math.prod(size)
        if name not in self.buffers or len(self.buffers[name]) < values:
            with torch.inference_mode(False):  # to be written to inside and outside of it
                self.buffers[name] = torch.empty(values)
        return self.buffers[name][:values].view(size)


scratch = _Scratch()
