"""What the commands share: options, and how their values become dataclasses."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import click

from blurvid.cli.boundary import EXIT_CODES, echo_json, exit_code, fail, say, silence, warn
from blurvid.config import (
    COMPARISONS,
    DEVICES,
    DIRECTIONS,
    ENGINES,
    FAST,
    FREE_SHARE,
    MIDDLE_CHOICES,
    MODELS,
    QUALITIES,
    SMALLEST_SCALE,
    ClipOptions,
    Gamma,
    OrderOptions,
    QualityOptions,
    RayOptions,
    RunOptions,
)
from blurvid.errors import InputError, OptionError

__all__ = ["EXIT_CODES", "echo_json", "exit_code", "fail", "say", "silence", "warn"]

Command = TypeVar("Command", bound=Callable[..., Any])
Kind = TypeVar("Kind")
CLIP, QUALITY = ClipOptions(), QualityOptions()


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
        kinds: the dataclass of each argument; of a field that is one itself, the fields count.
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
    hints, found = get_type_hints(kind), {}
    for field in fields(kind):  # type: ignore[arg-type]
        if is_dataclass(hints[field.name]):
            found[field.name] = picked(hints[field.name], values, used)
        elif field.name in values:
            found[field.name] = values[field.name]
            used.add(field.name)
    return kind(**found)


def parse_time(ctx: click.Context, param: click.Parameter, value: str | None) -> Fraction | None:
    """A time in a video: `[[H:]M:]S`, of which the seconds may have a fraction."""
    if value is None:
        return None
    match = re.fullmatch(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,7}(?:\.\d{1,9})?)", value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time such as 12.5, 1:30 or 1:02:03.")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + Fraction(match[3])


def parse_size(value: str) -> int:
    """An amount of memory: a number with K, M, G or T (powers of 1024), or of bytes."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", value.strip(), re.I)
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{value!r} is not an amount of memory such as 3G or 800M.")
    amount = float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(min(max(amount, 1), sys.maxsize))


def parse_rate(value: str | float) -> float | str:
    """Frames per second, or how they go with those of a video: `slow` or `keep`."""
    if value in ("slow", "keep"):
        return value
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number, slow or keep.") from None


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


def way(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """How far something moves: `DX,DY` in pixels."""
    if value is None:
        return None
    try:
        x, y = map(float, value.split(","))
    except ValueError:
        x = y = math.nan
    if not math.isfinite(x + y):
        raise click.BadParameter(f"{value!r} is not DX,DY in pixels, such as 40,-5.")
    return x, y


threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]"
)


def parse_device(value: str) -> str:
    """The name of a device, which need not be there."""
    if not re.fullmatch(DEVICES, value):
        raise click.BadParameter(f"no device named {value!r}; use auto, cpu, cuda, cuda:N or mps.")
    return value


device_option = click.option(
    "--device",
    default=RunOptions().device,
    type=parse_device,
    show_default=True,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where to run; auto takes a GPU if there is one.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default=RunOptions().precision,
    show_default=True,
    help="Precision of the features; images always stay in fp32.",
)


run_options = options(device_option, precision_option, threads_option)
"""Options that say where and how a network runs."""
memory_option = click.option(
    "--max-memory",
    type=parse_size,
    metavar="SIZE",
    help="Most memory to take, such as 3G or 800M: of the GPU, or of the whole process on a CPU. "
    f"Large photos are done in pieces.  [default: {FREE_SHARE:.0%} of what is free]",
)
"""How much memory a photo may take."""


engine_options = options(
    click.option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="ray: workers on all machines of a Ray cluster, with a disk that all of them see "
        "(pip install 'blurvid[ray]').",
    ),
    click.option(
        "--address",
        metavar="auto|HOST:PORT",
        help="The Ray cluster.  [default: RAY_ADDRESS, or one on this machine for this run]",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes on the Ray cluster.  [default: one a GPU, or as many as there are CPUs "
        "for]",
    ),
)
"""Options that say who does the work."""


def picked_engine(engine: str, address: str | None, workers: int | None) -> RayOptions | None:
    """The cluster that was asked for; None is this process.

    Raises:
        click.UsageError: options of a cluster without one.
    """
    if engine == "ray":
        return RayOptions(address, workers)
    if address is not None or workers is not None:
        raise click.UsageError("--address and --workers are for --engine ray")
    return None


def fast_option(text: str) -> Callable[[Command], Command]:
    """The option that takes what is quick."""
    return click.option("--fast", is_flag=True, help=f"{text}.")


def picked_model(model: str, fast: bool) -> str:
    """The model that was asked for.

    Raises:
        click.UsageError: two of them.
    """
    if not fast:
        return model
    if model not in ("auto", FAST):
        raise click.UsageError(f"--fast is --model {FAST}, not {model}")
    return FAST


weights_options = options(
    fast_option("In seconds, and less sharp. The direct model"),
    click.option(
        "--model",
        type=click.Choice(["auto", *MODELS]),
        default="auto",
        show_default=True,
        help="auto is motion, where its weights are there.",
    ),
    click.option(
        "--weights",
        "weights_name",
        metavar="NAME|DIR",
        help="Weight set. A name from `blurvid weights list` or a folder.",
    ),
)
"""Options that choose the model and its weights."""


def middle_option(text: str) -> Callable[[Command], Command]:
    """The option that says what gives the middle frame."""
    return click.option(
        "--middle",
        default=MIDDLE_CHOICES[0],
        show_default=True,
        metavar="NAME|FILE",
        help=f"{text}. {', '.join(MIDDLE_CHOICES)}, a weight set, or a .pth or .safetensors file "
        "of any deblurrer that spandrel can read.",
    )


clip_options = options(
    click.option(
        "--fps",
        type=parse_rate,
        default=CLIP.fps,
        metavar="N|slow|keep",
        help="Frames per second. Of videos also slow (their own rate: 7 times as long) or keep "
        f"(7 times that: as long as before).  [default: {CLIP.fps:g}; videos: slow]",
    ),
    click.option(
        "--bounce/--once",
        default=CLIP.bounce,
        show_default=True,
        help="Play forth and back, or forth only.",
    ),
    click.option("--reverse", is_flag=True, help="Turn the order of time around, after all else."),
    click.option(
        "--compare",
        type=click.Choice(COMPARISONS),
        help="Against the photo: wiped, side by side, in turns. A clip to be posted (.mp4, .webm, "
        ".gif, .webp), of at most 1080 px and 8 MB.",
    ),
    click.option("--square", is_flag=True, help="Make a --compare a square, of where most moves."),
    click.option(
        "--caption/--no-caption",
        default=CLIP.caption,
        show_default=True,
        help="Say in a --compare which is which.",
    ),
    click.option(
        "--seconds",
        default=CLIP.seconds,
        show_default=True,
        help="Loop an MP4 of a photo until it lasts at least this long [s].",
    ),
    click.option(
        "--crf",
        default=CLIP.crf,
        show_default=True,
        help="H.264 quality, from 0 (best) to 51.",
    ),
)
"""Options that say how seven frames are shown."""
order_options = options(
    click.option(
        "--direction",
        type=click.Choice(DIRECTIONS),
        default=OrderOptions().direction,
        show_default=True,
        help="Which way most of what moves shall go. Turns time; auto leaves it as the model "
        "answers.",
    ),
    click.option(
        "--flip",
        "flips",
        multiple=True,
        metavar="X,Y|X,Y,W,H|MASK",
        help="Turn time around for one object: what moves at a point, in a rectangle, both in "
        "pixels or percent (10%,20%,30%,40%) of the upright photo, or where the image MASK is "
        "white. May be given again.",
    ),
)
"""Options that say which way time runs."""
part_options = options(
    click.option(
        "--region",
        metavar="X,Y,W,H",
        help="Work on this rectangle alone, in pixels or percent (10%,20%,30%,40%) of the upright "
        "picture: it is what is written, or with --paste a part of it. Time and memory are "
        "those of the rectangle.",
    ),
    click.option(
        "--paste",
        is_flag=True,
        help="Put the --region back into the whole picture, with a soft edge.",
    ),
)
"""Options that say which part of a picture is worked on."""
hint_options = options(
    click.option(
        "--motion",
        callback=way,
        metavar="DX,DY",
        help="About how far the picture moves from the first frame to the last, in pixels of "
        "the photo: where the search begins, when it fails by itself.",
    ),
    click.option(
        "--still",
        multiple=True,
        metavar="X,Y,W,H|MASK",
        help="What stays at rest: a rectangle or a mask, as for --flip. May be given again.",
    ),
)
"""Options that tell the motion model what is known of the motion."""
passes_option = click.option(
    "--quality",
    "passes",
    type=click.Choice(list(QUALITIES)),
    default=next(iter(QUALITIES)),
    show_default=True,
    callback=lambda ctx, param, value: QUALITIES[value],
    help="good and best take two and four times as long. Passes averaged, of the photo mirrored, "
    "too.",
)


quality_options = options(
    passes_option,
    click.option(
        "--scale",
        default=QUALITY.scale,
        callback=lambda ctx, param, value: parse_scale(value),
        show_default=True,
        metavar="auto|FLOAT",
        help="Size at which the network sees the photo, 1 being its own; the frames have the "
        "photo's size all the same. Smaller for longer blur; auto measures it.",
    ),
)
"""Options that say what is done besides one plain pass."""
existing = click.Path(path_type=Path)
"""A path that the library itself looks at, so that its errors and codes are the same."""


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
