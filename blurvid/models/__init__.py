"""Models that turn a blurry image into seven frames, behind one interface."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

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
    MotionSpec,
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

Kind = TypeVar("Kind")
MAX_LEVELS = 8
MAX_BLOCKS = 128
"""Most blocks of all levels; each takes time to set up before a file is looked at."""
MOTION_LEVELS = 5, 4
"""Of channels and of blocks in the motion network, whose finest level has no blocks."""
MOST = {"factor": 16, "kernel": 31, "stages": 3, "width": 4, "reach": 64}
MOST_OF_OTHERS = 2048
"""Largest number of each field; the least is above 0, or 0 blocks."""
SETTLED = {
    "block": "plain", "kernel": 3, "distill": True, "reconstruct": True, "skip": 1,
    "contexts": "sequential",
}  # fmt: skip
"""What older sets tell, that was a choice once."""


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


def spec_from(model: str, given: object) -> Spec:
    """Shape of a model from plain values.

    Raises:
        ValueError: it is malformed, or larger than is believed.
    """
    return _made(SPECS[model], given)


def spec_problem(spec: Spec) -> str | None:
    """Say why a network of this shape could not be loaded again; None when it could."""
    try:
        _made(type(spec), dataclasses.asdict(spec))
    except ValueError as error:
        return str(error)
    return None


def _made(kind: type[Kind], given: object) -> Kind:
    """A spec of plain values.

    Raises:
        ValueError: one of them is not believed, or unknown.
    """
    hints = typing.get_type_hints(kind)
    if isinstance(given, dict):
        settled = [
            k for k in given.keys() & SETTLED.keys() - hints.keys() if given[k] == SETTLED[k]
        ]
        given = {key: value for key, value in given.items() if key not in settled}
    if not isinstance(given, dict) or not given.keys() <= hints.keys():
        raise ValueError(f"there can be {', '.join(hints)}")
    made = kind(**{name: _value(name, hints[name], value) for name, value in given.items()})
    channels, blocks = getattr(made, "channels", ()), getattr(made, "blocks", ())
    if isinstance(made, MotionSpec):
        if (len(channels), len(blocks)) != MOTION_LEVELS:
            raise ValueError("channels must be of {} levels, blocks of {}".format(*MOTION_LEVELS))
    elif len(channels) != len(blocks) or len(channels) > MAX_LEVELS:
        text = f"channels and blocks must be of the same number of levels, at most {MAX_LEVELS}"
        raise ValueError(text)
    if sum(blocks) > MAX_BLOCKS:
        raise ValueError(f"blocks must be at most {MAX_BLOCKS} in all")
    return made


def _value(name: str, hint: Any, value: Any) -> Any:
    """A field of a spec."""
    if dataclasses.is_dataclass(hint):
        return _made(hint, value)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{name} must be a list of numbers")
        return tuple(_value(name, int, one) for one in value)
    words = typing.get_args(hint)
    if words or hint is bool:
        if not any(value is word or value == word for word in words or (True, False)):
            raise ValueError(f"{name} must be {' or '.join(words) or 'true or false'}")
        return value
    most, least = MOST.get(name, MOST_OF_OTHERS), 0 if name.endswith("blocks") else 1
    if hint is float:
        if type(value) not in (int, float) or not 0 < value <= most:
            raise ValueError(f"{name} must be above 0, at most {most}")
        return value
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}")
    if name == "kernel" and value % 2 == 0:
        raise ValueError(f"{name} must be odd")
    return value
