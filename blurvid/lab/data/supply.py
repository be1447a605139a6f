"""What every source of training windows is, to a run that draws from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

Batch: TypeAlias = tuple[Tensor, ...]
"""What a step learns from: y, x, and more where the model's objective takes more."""


class Source(Protocol):
    """An endless supply of training windows."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> Batch:
        """Draw y (B, 3, S, S) and x (B, 7, 3, S, S), RGB in [0, 1], on the device.

        For models that compare views, x is (B, 2, 3, S, S), see `KindSource`; for the motion
        model more follows, see `MovingSource`.
        """

    def describe(self) -> str:
        """Say in a few words what the windows are made of, for the model card."""


@runtime_checkable
class Resumable(Protocol):
    """A source whose windows depend on more than the generator that it is given."""

    def state(self) -> Any:
        """What the next windows depend on: plain values and tensors, for a checkpoint."""

    def resume(self, state: Any) -> None:
        """Go on where another source of the same windows stood.

        Raises:
            ValueError, LookupError, TypeError, RuntimeError: not what `state` gives.
        """


def state_of(source: object) -> Any:
    """State of a source, None where it has none."""
    return source.state() if isinstance(source, Resumable) else None


def resume_source(source: object, state: Any) -> None:
    """Let a source go on, if it has a state and one is known."""
    if isinstance(source, Resumable) and state is not None:
        source.resume(state)


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


def check_generator(state: Any) -> None:
    """Refuse what is not the state of a generator.

    Raises:
        TypeError, RuntimeError: it is none.
    """
    torch.Generator().set_state(state)
