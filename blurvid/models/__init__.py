"""Models that turn a blurry image into seven frames, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from blurvid.config import (
    SPECS,
    STAGES,
    TRAINED,
    BDIRSpec,
    CascadeSpec,
    DirectSpec,
    MaximSpec,
    MotionModelSpec,
)
from blurvid.errors import OptionError
from blurvid.models.cascade import Cascade
from blurvid.models.ensemble import SelfEnsemble, order_agreement
from blurvid.models.middle import (
    GivenMiddle,
    GivenPicture,
    GuidedCascade,
    MiddleOf,
    middle_of,
)
from blurvid.models.motion import MotionModel
from blurvid.networks import BDIRNet, DirectNet, Maxim
from blurvid.networks.motion import MotionNet
from blurvid.networks.restore import RestoreNet

__all__ = [
    "Cascade",
    "GivenMiddle",
    "GivenPicture",
    "GuidedCascade",
    "MiddleOf",
    "MotionModel",
    "SelfEnsemble",
    "SequenceModel",
    "Spec",
    "Trainable",
    "build",
    "middle_of",
    "order_agreement",
    "parts",
]


class SequenceModel(Protocol):
    """What `pipeline` knows of a model."""

    name: str
    """The model's name on the command line."""
    count: int
    """Frames T that it gives: all seven, or 1, which is the middle one."""
    size_multiple: int
    """Divides the height and width that the model accepts."""

    def __call__(self, y: Tensor, /) -> Tensor:
        """Turn y (B, 3, H, W) into frames (B, T, 3, H, W)."""

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Turn y (1, 3, H, W) into frames (T, 3, H, W) in `out`, on whatever device that is."""

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""


Trainable: TypeAlias = Cascade | DirectNet | BDIRNet | Maxim | MotionModel
"""What has weights of its own, by its `name` one of `config.TRAINED`."""
Spec: TypeAlias = CascadeSpec | DirectSpec | BDIRSpec | MaximSpec | MotionModelSpec
"""Its shape, which is its `spec`."""


def _motion(spec: MotionModelSpec | None) -> MotionModel:
    spec = spec or MotionModelSpec()
    return MotionModel(Maxim(), MotionNet(spec.motion), RestoreNet(spec.restore))


MAKERS: dict[str, Callable[[Any], Trainable]] = {
    "motion": _motion,
    "direct": DirectNet,
    "cascade": Cascade,
    "bdirnet": BDIRNet,
    "maxim": Maxim,
}
"""What makes an untrained model of its spec, or of None; by the names of `config.SPECS`."""


def build(name: str, spec: Spec | None = None) -> Trainable:
    """Make an untrained model, which returns its input, or seven times its input.

    Args:
        name: one of `config.TRAINED`.
        spec: the model's shape; None is the default one.

    Raises:
        OptionError: no such model, or the shape of another one.
    """
    if name not in MAKERS:
        raise OptionError(f"no model named {name!r}; there are {', '.join(TRAINED)}")
    if spec is not None and not isinstance(spec, SPECS[name]):
        raise OptionError(f"a {type(spec).__name__} is not the shape of the {name} model")
    return MAKERS[name](spec)


def parts(model: Trainable) -> dict[str, nn.Module]:
    """Split a model into the modules that are stored in a file each."""
    if isinstance(model, Cascade):
        return {stage: model.stages[stage] for stage in STAGES}
    if isinstance(model, MotionModel):
        return {"motion": model.motion, "restore": model.restoration}
    return {model.name: model}
