"""Shapes of networks as a `set.json` gives them: read, and believed only within limits."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from blurvid.config import (
    BDIRSpec,
    CascadeSpec,
    DirectSpec,
    MaximSpec,
    MotionModelSpec,
    MotionSpec,
    RestoreSpec,
    UNetSpec,
)
from blurvid.errors import WeightsError
from blurvid.models import Spec
from blurvid.weights.describe import SET_FILE, WeightSet

MAX_LEVELS = 8
MAX_BLOCKS = 128
"""Most blocks of all levels; each takes time to set up before a file is looked at."""

MOTION_LEVELS = 5, 4
"""Of channels and of blocks in the motion network, whose finest level has no blocks."""

KINDS: dict[str, type[CascadeSpec] | type[DirectSpec] | type[BDIRSpec] | type[MaximSpec]] = {
    "cascade": CascadeSpec,
    "direct": DirectSpec,
    "bdirnet": BDIRSpec,
    "maxim": MaximSpec,
}
NEEDED = {
    "cascade": set[str](),
    "direct": {"factor", "channels", "blocks"},
    "bdirnet": {field.name for field in fields(BDIRSpec)},
    "maxim": {field.name for field in fields(MaximSpec)},
}
"""Fields that every spec in a `set.json` has; the others came later and have defaults."""


Kind = TypeVar("Kind", bound=CascadeSpec | UNetSpec | MaximSpec | MotionSpec | RestoreSpec)


def spec_of(weight_set: WeightSet) -> Spec:
    """Shape of the network that a set belongs to.

    Raises:
        WeightsError: it is malformed, or larger than is believed.
    """
    path, model = weight_set.path / SET_FILE, weight_set.model
    given = weight_set.info.get("spec")
    if model == "motion":
        if not isinstance(given, dict) or given.keys() != {"motion", "restore"}:
            raise WeightsError(f"{path}: spec must have motion, restore")
        motion = _checked(MotionSpec, given["motion"], path)
        return MotionModelSpec(motion, _checked(RestoreSpec, given["restore"], path))
    if given is None and not NEEDED[model]:
        return KINDS[model]()
    return _checked(KINDS[model], given, path, NEEDED[model])


def _checked(kind: type[Kind], given: object, path: Path, needed: set[str] | None = None) -> Kind:
    """A spec of a kind, all of whose fields are needed unless told."""
    known = [field.name for field in fields(kind)]
    needed = set(known) if needed is None else needed
    if not isinstance(given, dict) or not needed <= given.keys() <= set(known):
        raise WeightsError(f"{path}: spec must have {', '.join(known)}")
    problem = _problem(given, MOTION_LEVELS if kind is MotionSpec else None)
    if problem is not None:
        raise WeightsError(f"{path}: in spec, {problem}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    return kind(**values)


def spec_problem(spec: Spec) -> str | None:
    """Say why a network of this shape could not be loaded again; None when it could."""
    if isinstance(spec, MotionModelSpec):
        motion = _problem(asdict(spec.motion), MOTION_LEVELS)
        return motion or _problem(asdict(spec.restore))
    return _problem(asdict(spec))


def _problem(values: Mapping[str, object], levels: tuple[int, int] | None = None) -> str | None:
    """Say what is not believed; `levels` are those of channels and blocks, where given."""
    for key, value in values.items():
        if not CHECKS[key][0](value):
            return f"{key} must be {CHECKS[key][1]}"
    channels, blocks = values.get("channels", ()), values.get("blocks", ())
    assert isinstance(channels, list | tuple) and isinstance(blocks, list | tuple)
    if levels is not None:
        if (len(channels), len(blocks)) != levels:
            return f"channels must be of {levels[0]} levels, blocks of {levels[1]}"
    elif len(channels) != len(blocks) or len(channels) > MAX_LEVELS:
        return f"channels and blocks must be of the same number of levels, at most {MAX_LEVELS}"
    if sum(blocks) > MAX_BLOCKS:
        return f"blocks must be at most {MAX_BLOCKS} in all"
    return None


def _whole(least: int, most: int, step: int = 1) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value in range(least, most + 1, step)


def _several(least: int, most: int) -> Callable[[object], bool]:
    one = _whole(least, most)
    return lambda value: isinstance(value, list | tuple) and bool(value) and all(map(one, value))


def _words(
    kind: type[UNetSpec] | type[CascadeSpec], field: str
) -> tuple[Callable[[object], bool], str]:
    known = typing.get_args(typing.get_type_hints(kind)[field])
    return lambda value: isinstance(value, str) and value in known, " or ".join(known)


CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "factor": (_whole(1, 16), "from 1 to 16"),
    "channels": (_several(1, 2048), "a list of numbers from 1 to 2048"),
    "blocks": (_several(0, 64), "a list of numbers from 0 to 64"),
    "block": _words(UNetSpec, "block"),
    "kernel": (_whole(1, 31, 2), "odd, from 1 to 31"),
    "width": (
        lambda value: (
            isinstance(value, float | int) and not isinstance(value, bool) and 0 < value <= 4
        ),
        "above 0, at most 4",
    ),
    "distill": (lambda value: isinstance(value, bool), "true or false"),
    "reconstruct": (lambda value: isinstance(value, bool), "true or false"),
    "rec_blocks": (_whole(0, 64), "from 0 to 64"),
    "skip": (_whole(1, 64), "from 1 to 64"),
    "window": (_whole(1, 1 << 20), f"from 1 to {1 << 20}"),
    "contexts": _words(CascadeSpec, "contexts"),
    "stages": (_whole(1, 3), "from 1 to 3"),
    "features": (_whole(4, 256), "from 4 to 256"),
    "carried": (_whole(1, 512), "from 1 to 512"),
    "reach": (
        lambda value: (
            isinstance(value, float | int) and not isinstance(value, bool) and 1 <= value <= 64
        ),
        "from 1 to 64",
    ),
}
"""For each field, what is believed, and in words."""
