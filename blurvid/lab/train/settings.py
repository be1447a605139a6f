"""Options of a run: changing single fields by name, as `--set` does, and checking them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

from blurvid.config import STAGES
from blurvid.errors import OptionError
from blurvid.lab.options import CROPS, STAGES_OF, PathOptions, TrainOptions
from blurvid.lab.synth import check_camera, check_motion
from blurvid.models import Spec, spec_from, spec_problem

MOST = 2**31 - 1
"""Largest whole number that an option takes."""

Options = TypeVar("Options")


def change_settings(options: Options, settings: Sequence[str]) -> Options:
    """Set fields given as `key=value`; nested fields as `motion.max_path=16`.

    Args:
        options: a frozen dataclass, whose fields may be such dataclasses.
        settings: values are read as JSON where they are JSON, else as text.

    Raises:
        OptionError: no such field, or a value of another type.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise OptionError(f"{shown(setting)} is not KEY=VALUE")
        options = _change(options, key.split("."), _value(text), key)
    return options


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _change(options: Options, path: list[str], value: object, key: str) -> Options:
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        raise OptionError(f"no setting named {shown(key)}")
    hints = typing.get_type_hints(type(options))
    if path[0] not in hints:
        raise OptionError(f"no setting named {shown(key)}; there are {', '.join(sorted(hints))}")
    if len(path) > 1:
        new: object = _change(getattr(options, path[0]), path[1:], value, key)
    else:
        new = _typed(value, hints[path[0]], key)
    return dataclasses.replace(options, **{path[0]: new})


def _typed(value: object, hint: Any, key: str) -> object:
    """The value as the type of its field; lists become tuples, whole numbers floats."""
    try:
        return _as(value, hint)
    except TypeError:
        name = getattr(hint, "__name__", str(hint)).replace("typing.", "")
        raise OptionError(f"{key} must be {name}, not {shown(value)}") from None


def shown(value: object) -> str:
    """A value for a message, whatever its length."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _as(value: object, kind: Any) -> object:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        for some in inner:
            with contextlib.suppress(TypeError):
                return _as(value, some)
    elif origin is Literal and value in inner:
        return value
    elif origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(map(_as, value, kinds))
    elif kind is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise TypeError


def crop_of(options: TrainOptions) -> int:
    """Side of the training crop [px]."""
    return CROPS[options.model] if options.crop is None else options.crop


def spec_field(model: str) -> str:
    """Name of the option that holds the shape of a model."""
    return "networks" if model == "motion" else model  # `motion` is that of the simulation


def spec_asked(options: TrainOptions) -> Spec:
    """Shape of the model to train."""
    spec: Spec = getattr(options, spec_field(options.model))
    return spec


def stored_spec(options: Mapping[str, Any], model: str) -> Spec:
    """Shape of the model that a checkpoint's options tell.

    Args:
        options: as they come from JSON; fields that they lack have their defaults.
        model: the model it should be.

    Raises:
        OptionError, ValueError, KeyError, TypeError: another model, or no options.
    """
    if options["model"] != model:
        raise OptionError(f"it is of the {options['model']} model, not of {model}")
    return spec_from(model, options.get(spec_field(model), {}))


def adopt_spec(options: TrainOptions, spec: Spec) -> TrainOptions:
    """Take over the shape that weights or a checkpoint have, where no other was asked for.

    Raises:
        OptionError: another shape was asked for.
    """
    asked, name = spec_asked(options), spec_field(options.model)
    if asked not in (spec, type(asked)()):
        differing = [
            f"{name}.{field.name} is {getattr(spec, field.name)!r} there, "
            f"not {getattr(asked, field.name)!r}"
            for field in dataclasses.fields(spec)
            if getattr(spec, field.name) != getattr(asked, field.name)
        ]
        raise OptionError(f"{', '.join(differing)}; leave these settings out to take over theirs")
    changed: dict[str, Any] = {name: spec}
    return dataclasses.replace(options, **changed)


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can be made with.

    Raises:
        OptionError: an option is out of range; the message names it.
    """
    numbers = (
        options.minutes, options.lr, options.lr_end, options.clip, options.adversarial,
        options.perceptual, options.frequency, options.weight_decay, options.save_minutes,
    )  # fmt: skip
    whole = (
        options.batch, options.log_every, abs(options.seed), options.crop or 0,
        options.max_steps or 0,
    )  # fmt: skip
    stages = STAGES_OF.get(options.model, STAGES)
    wrong = {
        f"whole numbers must be at most {MOST}": max(whole) > MOST,
        f"no model named {shown(options.model)}; there are {', '.join(CROPS)}": options.model
        not in CROPS,
        f"stages must be among {', '.join(stages)}": not options.stages
        or not set(options.stages) <= set(stages),
        f"the {options.model} model has no stages": options.model not in STAGES_OF
        and set(options.stages) != set(STAGES),
        "the motion model has its own losses and one order of time": (options.model == "motion")
        and bool(
            options.loss != "auto"
            or options.order != "canonical"
            or options.adversarial
            or options.perceptual
            or options.frequency
        ),
        "paths: shares must be from 0 to 1, weights finite and not negative": not _paths_fit(
            options.paths
        ),
        "batch must be at least 1": options.batch < 1,
        "crop must be at least 1 px": options.crop is not None and options.crop < 1,
        "log_every must be at least 1": options.log_every < 1,
        "steps must not be negative": options.max_steps is not None and options.max_steps < 0,
        "warmup must be from 0 to 1": not 0 <= options.warmup <= 1,
        "ema must be from 0 to 1": not 0 <= options.ema <= 1,
        "windows must be from 0 to 1": not 0 <= options.windows <= 1,
        "context_blend must be from 0 to 1": not 0 <= options.context_blend <= 1,
        "numbers must be finite and not negative": not all(
            math.isfinite(number) and number >= 0 for number in numbers
        ),
        "the perceptual loss is on the middle frame; train that stage": bool(options.perceptual)
        and "middle" not in options.stages,
    }
    for field in ("order", "loss"):
        known = typing.get_args(typing.get_type_hints(TrainOptions)[field])
        wrong[f"{field} must be one of {', '.join(known)}"] = getattr(options, field) not in known
    for name in CROPS:
        problem = spec_problem(getattr(options, spec_field(name)))
        wrong[f"{name}: {problem}"] = problem is not None
    for text, found in wrong.items():
        if found:
            raise OptionError(text)
    check_motion(options.motion)
    check_camera(options.camera)


def _paths_fit(paths: PathOptions) -> bool:
    given = (paths.warped, paths.field, paths.surely, paths.restored, paths.validated)
    return all(0 <= share <= 1 for share in (paths.true_motion, paths.joined)) and all(
        0 <= number < math.inf for number in given
    )
