"""Options of a run: changing single fields by name, as `--set` does, and checking them."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, Union

from blurvid.config import MODELS, STAGES, TrainOptions
from blurvid.errors import OptionError
from blurvid.synth import check_motion

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
            raise OptionError(f"{setting!r} is not KEY=VALUE")
        options = _change(options, key.split("."), _value(text), key)
    return options


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _change(options: Options, path: list[str], value: object, key: str) -> Options:
    if not dataclasses.is_dataclass(options) or isinstance(options, type):
        raise OptionError(f"no setting named {key!r}")
    hints = typing.get_type_hints(type(options))
    if path[0] not in hints:
        raise OptionError(f"no setting named {key!r}; there are {', '.join(sorted(hints))}")
    if len(path) > 1:
        new: object = _change(getattr(options, path[0]), path[1:], value, key)
    else:
        new = _typed(value, hints[path[0]], key)
    return dataclasses.replace(options, **{path[0]: new})


def _typed(value: object, hint: Any, key: str) -> object:
    """The value as the type of its field; lists become tuples, whole numbers floats."""
    for kind in typing.get_args(hint) if _is_union(hint) else (hint,):
        try:
            return _as(value, kind)
        except TypeError:
            continue
    name = getattr(hint, "__name__", str(hint)).replace("typing.", "")
    raise OptionError(f"{key} must be {name}, not {value!r}")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _as(value: object, kind: Any) -> object:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(_typed_or_fail(v, k) for v, k in zip(value, kinds, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise TypeError


def _typed_or_fail(value: object, hint: Any) -> object:
    try:
        return _typed(value, hint, "")
    except OptionError as error:
        raise TypeError from error


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can be made with.

    Raises:
        OptionError: an option is out of range; the message names it.
    """
    numbers = (
        options.minutes, options.lr, options.lr_end, options.clip, options.adversarial,
        options.perceptual, options.noise, options.weight_decay, options.save_minutes,
    )  # fmt: skip
    wrong = {
        f"no model named {options.model!r}; there are {', '.join(MODELS)}": options.model
        not in MODELS,
        f"stages must be among {', '.join(STAGES)}": not options.stages
        or not set(options.stages) <= set(STAGES),
        "the direct model has no stages": options.model == "direct"
        and set(options.stages) != set(STAGES),
        "batch must be at least 1": options.batch < 1,
        "crop must be at least 1 px": options.crop is not None and options.crop < 1,
        "log_every must be at least 1": options.log_every < 1,
        "steps must not be negative": options.max_steps is not None and options.max_steps < 0,
        "reuse must be at least 1": options.reuse < 1,
        "warmup must be from 0 to 1": not 0 <= options.warmup <= 1,
        "ema must be from 0 to 1": not 0 <= options.ema <= 1,
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
    for text, found in wrong.items():
        if found:
            raise OptionError(text)
    spec = options.direct
    sizes = (spec.factor, *spec.channels)
    if min(sizes, default=0) < 1 or min(spec.blocks, default=-1) < 0:
        raise OptionError("the direct network needs a factor, channels and blocks of at least 1")
    check_motion(options.motion)
