"""Shapes of networks as a `set.json` gives them: read, and believed only within limits."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

from blurvid.config import SPECS, MotionSpec
from blurvid.errors import WeightsError
from blurvid.models import Spec
from blurvid.weights.describe import SET_FILE, WeightSet

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

Kind = TypeVar("Kind")


def spec_of(weight_set: WeightSet) -> Spec:
    """Shape of the network that a set belongs to; what a `set.json` leaves out has its default.

    Raises:
        WeightsError: it is malformed, or larger than is believed.
    """
    given = weight_set.info.get("spec")
    try:
        return spec_from(weight_set.model, {} if given is None else given)
    except ValueError as error:
        raise WeightsError(f"{weight_set.path / SET_FILE}: in spec, {error}") from None


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
