"""Models that turn a blurry image into seven frames, behind one interface."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, TypeAlias

from torch import Tensor, nn

from blurvid.config import (
    STAGES,
    TRAINED,
    BDIRSpec,
    CascadeSpec,
    DirectSpec,
    MaximSpec,
    MotionModelSpec,
)
from blurvid.errors import OptionError
from blurvid.models.beyond import Onward, onward_of
from blurvid.models.cascade import Cascade
from blurvid.models.ensemble import SelfEnsemble, order_agreement
from blurvid.models.middle import (
    GivenMiddle,
    GivenPicture,
    GuidedCascade,
    MotionMiddle,
    middle_of,
)
from blurvid.models.motion import MotionModel
from blurvid.networks import BDIRNet, DirectNet, FrameNet, Maxim
from blurvid.networks.motion import MotionNet
from blurvid.networks.restore import RestoreNet
from blurvid.runtime import single_thread

__all__ = [
    "Cascade",
    "GivenMiddle",
    "GivenPicture",
    "GuidedCascade",
    "MotionMiddle",
    "MotionModel",
    "Onward",
    "SelfEnsemble",
    "SequenceModel",
    "Spec",
    "Trainable",
    "build",
    "middle_of",
    "onward_of",
    "order_agreement",
    "parts",
    "use_window",
]


class SequenceModel(Protocol):
    """What `pipeline` knows of a model."""

    name: str
    """The model's name on the command line."""
    count: int
    """Frames T that it gives: all seven, or 1, which is the middle one."""
    size_multiple: int
    """Divides the height and width that the model accepts."""

    @property
    def can_strip(self) -> bool:
        """Whether `fill` can save memory."""

    def __call__(self, y: Tensor, /) -> Tensor:
        """Turn y (B, 3, H, W) into frames (B, T, 3, H, W)."""

    def fill(self, out: Tensor, y: Tensor, step: int | None) -> None:
        """Turn y (1, 3, H, W) into frames (T, 3, H, W) in `out`, on whatever device that is.

        A `step` (rows of features at a time) saves memory and changes nothing but rounding.
        """

    def maker(self, frames: Collection[int], /) -> str:
        """Name what makes the first of some frames, counted from 1, for messages."""

    def memory(self, height: int, width: int, feature_size: int, step: int | None) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""


Trainable: TypeAlias = Cascade | DirectNet | BDIRNet | Maxim | MotionModel
"""What has weights of its own, by its `name` one of `config.TRAINED`."""
Spec: TypeAlias = CascadeSpec | DirectSpec | BDIRSpec | MaximSpec | MotionModelSpec
"""Its shape, which is its `spec`."""


def build(name: str, spec: Spec | None = None) -> Trainable:
    """Make an untrained model, which returns its input, or seven times its input.

    Args:
        name: one of `config.TRAINED`.
        spec: the model's shape; None is the default one.

    Raises:
        OptionError: no such model, or the shape of another one.
    """
    if name == "cascade" and isinstance(spec, CascadeSpec | None):
        with single_thread():  # LAPACK's orthogonalization of small matrices crawls in many
            return Cascade(spec)
    if name == "direct" and isinstance(spec, DirectSpec | None):
        return DirectNet(spec)
    if name == "bdirnet" and isinstance(spec, BDIRSpec | None):
        return BDIRNet(spec)
    if name == "maxim" and isinstance(spec, MaximSpec | None):
        return Maxim(spec)
    if name == "motion" and isinstance(spec, MotionModelSpec | None):
        spec = spec or MotionModelSpec()
        return MotionModel(Maxim(), MotionNet(spec.motion), RestoreNet(spec.restore))
    if name in TRAINED:
        raise OptionError(f"a {type(spec).__name__} is not the shape of the {name} model")
    raise OptionError(f"no model named {name!r}; there are {', '.join(TRAINED)}")


def parts(model: Trainable) -> dict[str, nn.Module]:
    """Split a model into the modules that are stored in a file each."""
    if isinstance(model, Cascade):
        return {stage: model.stages[stage] for stage in STAGES}
    if isinstance(model, MotionModel):
        return {"motion": model.motion, "restore": model.restoration}
    return {model.name: model}


def use_window(model: nn.Module, side: int | None) -> bool:
    """Let a model normalize by the statistics of a square around each pixel.

    Args:
        model: changed in place.
        side: of the square [px]; None takes the whole image again.

    Returns:
        Whether the model has norms at all; the direct network has none.
    """
    nets = [module for module in model.modules() if isinstance(module, FrameNet)]
    for net in nets:
        net.use_window(side)
    return bool(nets)
