"""Adam along a cosine. torch's own costs a second of imports before its first step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
"""Memory of slopes, and of their squares."""


class Descent:
    """Steps of Adam (Kingma and Ba 2015, algorithm 1) that become shorter, in place.

    Args:
        x: what is sought; changed by `step`.
        steps: how many there will be.
        pace: the first step [x]; it falls to 0 along half a cosine.
        damping: slopes far below this move a value less than a step.
    """

    def __init__(self, x: Tensor, steps: int, pace: float, damping: float) -> None:
        self.x, self.steps, self.pace, self.damping = x, steps, pace, damping
        self.done = 0
        self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)

    @torch.no_grad()
    def step(self, slope: Tensor) -> None:
        """Go down a slope, of the shape of x."""
        rate = self.pace * (1 + math.cos(math.pi * self.done / self.steps)) / 2
        self.done += 1
        self.mean.lerp_(slope, 1 - BETAS[0])
        self.square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
        first, second = (1 - beta**self.done for beta in BETAS)
        size = (self.square / second).sqrt_().add_(self.damping)
        self.x.addcdiv_(self.mean, size, value=-rate / first)
