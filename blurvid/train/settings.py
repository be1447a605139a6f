"""Changing single fields of nested options by name, as `--set` does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TypeVar

from blurvid.errors import OptionError

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
    names = {field.name for field in dataclasses.fields(options)}
    if path[0] not in names:
        raise OptionError(f"no setting named {key!r}; there are {', '.join(sorted(names))}")
    old = getattr(options, path[0])
    if len(path) > 1:
        new: object = _change(old, path[1:], value, key)
    else:
        new = _as_type_of(old, value, key)
    return dataclasses.replace(options, **{path[0]: new})


def _as_type_of(old: object, value: object, key: str) -> object:
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if old is not None and type(value) is not type(old):
        raise OptionError(f"{key} must be {type(old).__name__}, not {value!r}")
    return value
