"""How words of the command line become values, and values the dataclasses that commands take."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import click
from click.core import ParameterSource

from blurvid.config import DEVICES, FAST, QUALITIES
from blurvid.errors import InputError
from blurvid.recipe import AUTO, Way

Command = TypeVar("Command", bound=Callable[..., Any])
Kind = TypeVar("Kind")


def options(*found: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order of the help screen."""

    def around(command: Command) -> Command:
        for option in reversed(found):
            command = option(command)
        return command

    return around


def takes(**kinds: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take dataclasses, made of the options that are called as their fields.

    Args:
        kinds: the dataclass or `TypedDict` of each argument; of a field that is one itself, the
            fields count. An option that is None leaves its field out, at its own default.
    """

    def around(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: object) -> None:
            used: set[str] = set()
            made = {name: picked(kind, values, used) for name, kind in kinds.items()}
            rest = {name: value for name, value in values.items() if name not in used}
            command(**made, **rest)

        return run

    return around


def picked(kind: type[Kind], values: dict[str, Any], used: set[str]) -> Kind:
    """Make a dataclass of the command-line values of its fields, whose names go into `used`."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if isinstance(hint, type) and is_dataclass(hint):
            found[name] = picked(hint, values, used)
        elif name in values:
            used.add(name)
            if values[name] is not None:
                found[name] = values[name]
    return kind(**found)


def refuse(names: Sequence[str], text: str) -> None:
    """Refuse parameters that are on the command line; the user's file may have them.

    Raises:
        click.UsageError: there is one, and the text says what it is.
    """
    ctx = click.get_current_context()
    for param in ctx.command.params:
        given = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        if param.name in names and given:
            raise click.UsageError(f"{'/'.join((param.opts[0], *param.secondary_opts))} {text}")


def refuse_missing(paths: Sequence[Path]) -> None:
    """Refuse sources of which none is there, before what reads them is loaded.

    Raises:
        InputError: about the first.
    """
    for path in paths:
        try:
            path.lstat()
        except FileNotFoundError:
            continue
        except (OSError, ValueError):  # which the library tells
            pass
        return
    raise InputError(f"{paths[0]}: no such file or folder")


def quick(model: str, fast: bool) -> str:
    """The model, or the quick one where that was asked for.

    Raises:
        click.UsageError: another one is named, too.
    """
    if fast and model not in (AUTO, FAST):
        raise click.UsageError(f"--fast is --model {FAST}, not {model}")
    return FAST if fast else model


def passes_of(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """How many passes a quality takes."""
    return QUALITIES[value]


# What follows is the `type` of options: text to a value, or click.BadParameter.


def parse_device(value: str) -> str:
    """The name of a device, which need not be there."""
    if not re.fullmatch(DEVICES, value):
        raise click.BadParameter(f"no device named {value!r}; use auto, cpu, cuda, cuda:N or mps.")
    return value


def parse_size(value: str) -> int:
    """An amount of memory: a number with K, M, G or T (powers of 1024), or of bytes."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.I)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{value!r} is not an amount of memory such as 3G or 800M.")
    amount = float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(min(max(amount, 1), sys.maxsize))


def number_or(*words: str) -> Callable[[str | float], float | str]:
    """A number, or one of some words; whether it makes sense is for the library to say."""

    def number(value: str | float) -> float | str:
        try:
            return value if value in words else float(value)
        except ValueError:
            hint = " or ".join(("a number", *words))
            raise click.BadParameter(f"{value!r} is not {hint}.") from None

    return number


def parse_time(value: str) -> Fraction:
    """A time in a video: `[[H:]M:]S`, of which the seconds may have a fraction."""
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time such as 12.5, 1:30 or 1:02:03.")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + Fraction(match[3])


def parse_way(value: str) -> Way:
    """How far something moves: `DX,DY` in pixels, and `@` where that is."""
    way, _, region = value.partition("@")
    try:
        x, y = map(float, way.split(","))
    except ValueError:
        x = y = math.nan
    if not math.isfinite(x + y):
        raise click.BadParameter(f"{way!r} is not DX,DY in pixels, such as 40,-5.")
    return Way(x, y, region or None)


def parse_share(value: str) -> tuple[int, int]:
    """One of N shares: `I/N`."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is not I/N with I from 1 to N, such as 2/8")
    return int(match[1]), int(match[2])
