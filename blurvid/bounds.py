"""Bounds of options, written beside their defaults; options of plain values, regions of text."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from blurvid.errors import OptionError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Bounds:
    """Numbers that an option may be; of several, each. No option is infinite."""

    least: float
    most: float = math.inf
    above: bool = False
    """Whether the least itself is out."""
    odd: bool = False
    rising: bool = False
    """Whether several come in order; equal ones may."""

    def __str__(self) -> str:
        least = f"{'above' if self.above else 'at least'} {self.least:g}"
        text = f"from {self.least:g} to {self.most:g}"
        if self.above or self.most == math.inf:
            text = f"{least}, {'finite' if self.most == math.inf else f'at most {self.most:g}'}"
        return text + ", odd" * self.odd + ", the smaller first" * self.rising

    def hold(self, value: Any) -> bool:
        """Whether a number, or each of several, is within."""
        numbers = value if isinstance(value, tuple) else (value,)
        return all(
            self.least <= number <= self.most
            and number < math.inf
            and not (self.above and number == self.least)
            and not (self.odd and number % 2 == 0)
            for number in numbers
        ) and not (self.rising and list(numbers) != sorted(numbers))


MOST = 2**31 - 1
"""Largest whole number that an option takes."""
Share = Annotated[float, Bounds(0, 1)]
Weight = Annotated[float, Bounds(0)]
Count = Annotated[int, Bounds(1, MOST)]


def check(options: object, *names: str) -> None:
    """Refuse options out of range.

    Args:
        options: a dataclass, whose fields may be such dataclasses.
        names: of the fields that are looked at; all of them, if none is named.

    Raises:
        OptionError: one is; the message names it.
    """
    given = vars(options)
    _fields(type(options), {name: given[name] for name in names or given}, "")


def made(kind: type[Options], given: object, prefix: str = "") -> Options:
    """Make options of plain values; lists become tuples, whole numbers floats.

    Args:
        kind: a dataclass, whose fields may be such dataclasses.
        given: values by name; what is left out has its default.
        prefix: of names in messages.

    Raises:
        OptionError: a value of another type or out of range, or no field of that name.
    """
    hints = typing.get_type_hints(kind)
    if not isinstance(given, dict) or not given.keys() <= hints.keys():
        raise OptionError(f"{prefix.rstrip('.')}: there can be {', '.join(hints)}".lstrip(": "))
    return kind(**_fields(kind, given, prefix))


def _fields(kind: type, given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    hints, found = typing.get_type_hints(kind, include_extras=True), {}
    for name, value in given.items():
        try:
            found[name] = typed(value, hints[name], f"{prefix}{name}.")
        except TypeError:
            wanted = f"{prefix}{name} must be {_words(hints[name])}"
            raise OptionError(f"{wanted}, not {shown(value)}") from None
    return found


def typed(value: Any, hint: Any, prefix: str = "") -> Any:
    """A plain value as a type, within its bounds.

    Raises:
        TypeError: it is none.
        OptionError: what is wrong with a field of it, see `made`.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        found = typed(value, inner[0], prefix)
        if found is None or inner[1].hold(found):
            return found
    elif origin in (Union, types.UnionType):
        for kind in inner:
            with contextlib.suppress(TypeError):
                return typed(value, kind, prefix)
    elif origin is Literal:
        if any(value is word or (type(value) is type(word) and value == word) for word in inner):
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        if len(kinds) == len(value):
            return tuple(map(typed, value, kinds))
    elif dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return made(hint, value, prefix)  # type: ignore[arg-type]
    elif dataclasses.is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
        _fields(hint, vars(value), prefix)  # type: ignore[arg-type]
        return value
    elif hint is float and isinstance(value, Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    elif hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    elif hint is Any or (hint not in (int, float) and isinstance(value, hint)):
        return value
    raise TypeError


def _words(hint: Any) -> str:
    """What a type is for people."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return str(inner[1])
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(str, inner))
    if inner:
        return " or ".join(_words(kind) for kind in inner if kind not in (type(None), ...))
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint))


def shown(value: object) -> str:
    """A value for a message, whatever its length."""
    text = str(value) if isinstance(value, Number) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


Edges = tuple[tuple[float, bool], ...]
"""Left, top, width, height, or only the first two; each a number, and whether it is percent."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")


def edges_of(name: str) -> Edges | None:
    """The numbers of a rectangle or a point; None where the text names the image of a mask.

    Raises:
        OptionError: neither, or nothing in it.
    """
    matches = [_NUMBER.fullmatch(part) for part in name.split(",")]
    found = [match for match in matches if match is not None]
    if len(found) == len(matches) and len(found) in (2, 4):
        edges = tuple((float(match[1]), bool(match[2])) for match in found)
        if not all(side for side, _ in edges[2:]):
            raise OptionError(f"the region {name} is empty")
        return edges
    if "," in name and not Path(name).exists():
        raise OptionError(
            f"{name!r} is no region: use X,Y,W,H or X,Y in pixels or percent, or an image of a mask"
        )
    return None
