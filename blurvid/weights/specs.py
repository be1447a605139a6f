"""Shapes of networks as a `set.json` gives them: read, and believed only within limits."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from blurvid.config import BDIRSpec, CascadeSpec, DirectSpec, MaximSpec, UNetSpec
from blurvid.errors import WeightsError
from blurvid.models import Spec
from blurvid.weights.describe import SET_FILE, WeightSet

MAX_LEVELS = 8
MAX_BLOCKS = 128
"""Most blocks of all levels; each takes time to set up before a file is looked at."""

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


def spec_of(weight_set: WeightSet) -> Spec:
    """Shape of the network that a set belongs to.

    Raises:
        WeightsError: it is malformed, or larger than is believed.
    """
    path, model = weight_set.path / SET_FILE, weight_set.model
    kind, given = KINDS[model], weight_set.info.get("spec")
    if given is None and not NEEDED[model]:
        return kind()
    known = [field.name for field in fields(kind)]
    if not isinstance(given, dict) or not NEEDED[model] <= given.keys() <= set(known):
        raise WeightsError(f"{path}: spec must have {', '.join(known)}")
    problem = _problem(given)
    if problem is not None:
        raise WeightsError(f"{path}: in spec, {problem}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }
    return kind(**values)


def spec_problem(spec: Spec) -> str | None:
    """Say why a network of this shape could not be loaded again; None when it could."""
    return _problem(asdict(spec))


def _problem(values: Mapping[str, object]) -> str | None:
    for key, value in values.items():
        if not CHECKS[key][0](value):
            return f"{key} must be {CHECKS[key][1]}"
    channels, blocks = values.get("channels", ()), values.get("blocks", ())
    assert isinstance(channels, list | tuple) and isinstance(blocks, list | tuple)
    if len(channels) != len(blocks) or len(channels) > MAX_LEVELS:
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
}
"""For each field, what is believed, and in words."""
