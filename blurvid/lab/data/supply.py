"""What every source of training windows is, to a run that draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

Batch: TypeAlias = tuple[Tensor, ...]
"""What a step learns from: y, x, and more where the model's objective takes more."""


class Source(Protocol):
    """An endless supply of training windows."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        """Draw y (B, 3, S, S) and x (B, 7, 3, S, S), RGB in [0, 1], on the device.

        For the motion model more follows, see `MovingSource`.
        """

    def describe(self) -> str:
        """Say in a few words what the windows are made of, for the model card."""


@runtime_checkable
class Validated(Protocol):
    """A source that keeps some windows apart."""

    def validation(self) -> Iterator[Batch]:
        """Give batches that are never drawn."""


def validation_of(source: object) -> Iterator[Batch]:
    """What a source, or the one that it draws from, keeps apart; nothing where none does."""
    while source is not None:
        if isinstance(source, Validated):
            return source.validation()
        source = getattr(source, "source", None)
    return iter(())
