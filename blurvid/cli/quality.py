"""Options that trade time for quality, shared by the commands that run a model on photos."""

from __future__ import annotations

from typing import Any, Literal

import click

from blurvid.cli.common import Command
from blurvid.config import QUALITIES, SMALLEST_SCALE, Gamma, QualityOptions
from blurvid.errors import OptionError

DEFAULT = QualityOptions()
NAMES = {passes: name for name, passes in QUALITIES.items()}
NONE = "none"

passes_option = click.option(
    "--quality",
    type=click.Choice(list(QUALITIES)),
    default=NAMES[DEFAULT.passes],
    show_default=True,
    help="Passes averaged: fast 1, good 2 (the photo mirrored too), best 4; each takes as long as "
    "the first.",
)


def quality_options(command: Command) -> Command:
    """Options that say what is done besides one plain pass."""
    for option in (
        click.option(
            "--scale",
            default=str(DEFAULT.scale),
            show_default=True,
            metavar="auto|FLOAT",
            help="Size at which the network sees the photo, 1 being its own; the frames have the "
            "photo's size all the same. Smaller for longer blur; auto measures it.",
        ),
        click.option(
            "--constraint",
            metavar="none|FLOAT|srgb",
            help="Make the frames average to the photo in this camera response. A wrong one "
            "costs quality, and a photo does not tell its own.  [default: none]",
        ),
        passes_option,
    ):
        command = option(command)
    return command


def picked_quality(values: dict[str, Any]) -> QualityOptions:
    """Make the options object from the command-line values.

    Raises:
        OptionError: a camera response or a scale that is none.
    """
    constraint = values["constraint"]
    return QualityOptions(
        passes=QUALITIES[values["quality"]],
        constraint=None if constraint in (None, NONE) else parse_gamma(constraint),
        scale=parse_scale(values["scale"]),
    )


def parse_gamma(text: str) -> Gamma:
    """Read a camera response: an exponent or `srgb`.

    Raises:
        OptionError: neither.
    """
    if text == "srgb":
        return "srgb"
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 10:
        raise OptionError(f"gamma {text!r}: use an exponent such as 1.0 or 2.2, or srgb")
    return value


def parse_scale(text: str) -> float | Literal["auto"]:
    """Read a scale: a number or `auto`.

    Raises:
        OptionError: neither; whether the number makes sense is for the library to say.
    """
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise OptionError(
            f"scale {text!r}: use auto or a number from {SMALLEST_SCALE:g} to 1"
        ) from None


def described(options: QualityOptions, scale: float | None = None) -> str:
    """What was done besides one plain pass, in words; empty where nothing was.

    Args:
        options: what was asked for.
        scale: the one taken, where one photo is meant.
    """
    words = []
    if options.passes != DEFAULT.passes:
        words.append(f"{options.passes} passes")
    if options.constraint is not None:
        words.append(f"constrained in response {options.constraint}")
    taken = options.scale if scale is None else scale
    if options.scale != DEFAULT.scale or taken not in (DEFAULT.scale, 1):
        words.append(f"scale {taken}")
    return ", ".join(words)
