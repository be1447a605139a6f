"""Options of a run: changing single fields by name, as `--set` does, and checking them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from blurvid.bounds import check, made, shown
from blurvid.config import STAGES
from blurvid.errors import OptionError
from blurvid.lab.losses import SEQUENCES
from blurvid.lab.options import CROPS, STAGES_OF, TrainOptions
from blurvid.models import Spec, check_spec, spec_from

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
    names = [field.name for field in dataclasses.fields(options)]
    if path[0] not in names:
        raise OptionError(f"no setting named {shown(key)}; there are {', '.join(sorted(names))}")
    own = getattr(options, path[0])
    if len(path) > 1:
        return dataclasses.replace(options, **{path[0]: _change(own, path[1:], value, key)})
    given = {name: getattr(options, name) for name in names} | {path[0]: value}
    return made(type(options), given, key.removesuffix(path[0]))


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
        there = ", ".join(f"{name}.{key} is {value!r}" for key, value in vars(spec).items())
        raise OptionError(f"{there}; leave these settings out to take them over")
    return dataclasses.replace(options, **{name: spec})  # type: ignore[arg-type]


def check_options(options: TrainOptions) -> None:
    """Refuse options that no run can be made with.

    Raises:
        OptionError: an option is out of range; the message names it.
    """
    check(options)
    stages, own = STAGES_OF.get(options.model, STAGES), options.model == "motion"
    others = (options.adversarial, options.perceptual, options.frequency)
    wrong = {
        f"no model named {shown(options.model)}; there are {', '.join(CROPS)}": options.model
        not in CROPS,
        f"stages must be among {', '.join(stages)}": not options.stages
        or not set(options.stages) <= set(stages),
        f"the {options.model} model has no stages": options.model not in STAGES_OF
        and set(options.stages) != set(STAGES),
        "the motion model has its own losses and one order of time": own
        and (options.loss, options.order, *others) != ("auto", "canonical", 0, 0, 0),
        "the maxim model gives one frame, and has the losses of one": options.model == "maxim"
        and (options.loss in SEQUENCES or options.order != "canonical" or options.adversarial > 0),
        "the nearest order is the direct model's, which gives all frames, and for regression": (
            options.order == "nearest" and (options.model != "direct" or options.loss in SEQUENCES)
        ),
        "the perceptual loss is on the middle frame; train that stage": bool(options.perceptual)
        and "middle" not in options.stages,
    }
    for text, found in wrong.items():
        if found:
            raise OptionError(text)
    for name in CROPS:
        check_spec(getattr(options, spec_field(name)))
