"""Models that turn a blurry image into seven frames, behind one interface."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from blurvid.config import STAGES, DirectSpec
from blurvid.errors import OptionError
from blurvid.models.cascade import Cascade
from blurvid.networks import DirectNet
from blurvid.runtime import single_thread

__all__ = ["Cascade", "SequenceModel", "build", "parts"]


class SequenceModel(Protocol):
    """What `pipeline` knows of a model."""

    name: str
    """The model's name on the command line."""
    size_multiple: int
    """Divides the height and width that the model accepts."""

    def __call__(self, y: Tensor, /) -> Tensor:
        """Turn y (B, 3, H, W) into frames (B, 7, 3, H, W)."""


def build(name: str, spec: DirectSpec | None = None) -> Cascade | DirectNet:
    """Make an untrained model, which returns its input seven times.

    Args:
        name: `cascade` or `direct`.
        spec: shape of the direct network; the cascade has but one.

    Raises:
        OptionError: no such model.
    """
    if name == "cascade":
        with single_thread():  # LAPACK's orthogonalization of small matrices crawls in many
            return Cascade()
    if name == "direct":
        return DirectNet(spec)
    raise OptionError(f"no model named {name!r}; there are cascade and direct")


def parts(model: Cascade | DirectNet) -> dict[str, nn.Module]:
    """Split a model into the modules that are stored in a file each."""
    if isinstance(model, Cascade):
        return {stage: model.stages[stage] for stage in STAGES}
    return {"direct": model}
