"""What the commands share: options, streams, and errors as messages and exit codes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from blurvid import errors
from blurvid.config import (
    COMPARISONS,
    DIRECTIONS,
    ENGINES,
    FAST,
    FREE_SHARE,
    MODELS,
    ClipOptions,
    OrderOptions,
    RayOptions,
    RunOptions,
)

EXIT_CODES: dict[type[errors.BlurvidError], int] = {
    errors.OptionError: 2,
    errors.InputError: 3,
    errors.WeightsError: 4,
    errors.DeviceError: 5,
    errors.OutputError: 6,
}
_BREAKING = frozenset(("Cc", "Zl", "Zp"))
"""Categories of characters that end a line or steer a terminal."""

Command = TypeVar("Command", bound=Callable[..., Any])


def exit_code(error: errors.BlurvidError) -> int:
    """Exit code of an error; 1 where none is listed."""
    for kind, code in EXIT_CODES.items():
        if isinstance(error, kind):
            return code
    return 1


def one_line(message: object) -> str:
    r"""Text that stays one line on any terminal, whatever files are called.

    A name may hold line breaks, or sequences that move the cursor; they are shown as `\n`.
    """
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in _BREAKING or _lone(letter) else letter
        for letter in str(message)
    )


def _lone(letter: str) -> bool:
    """Whether a letter is half of one, and does not stand for a byte of a file's name."""
    return "\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff"


def say(message: object) -> None:
    """Show one line on stderr.

    A log that cannot be written is no reason to stop; the exit code tells what matters.
    """
    try:
        click.echo(one_line(message), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        silence(sys.stderr)


def fail(message: object) -> None:
    """Show one error on stderr."""
    say(f"Error: {message}")


def warn(message: object) -> None:
    """Show one warning on stderr."""
    say(f"Warning: {message}")


def silence(stream: Any) -> None:
    """Let a stream that cannot be written to any more lead nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]"
)
device_option = click.option(
    "--device",
    default=RunOptions().device,
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


def run_options(command: Command) -> Command:
    """Options that say where and how a network runs."""
    for option in (threads_option, precision_option, device_option):
        command = option(command)
    return command


memory_option = click.option(
    "--max-memory",
    type=parse_size,
    metavar="SIZE",
    help="Most memory to take, such as 3G or 800M: of the GPU, or of the whole process on a CPU. "
    f"Large photos are done in pieces.  [default: {FREE_SHARE:.0%} of what is free]",
)
"""How much memory a photo may take."""


compile_option = click.option(
    "--compile",
    is_flag=True,
    help="Compile the network, for many photos of the same size on a CUDA device; the first of "
    "each size takes longer.",
)
"""Whether the network is compiled."""


def engine_options(command: Command) -> Command:
    """Options that say who does the work."""
    for option in (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Processes on the Ray cluster.  [default: one a GPU, or as many as there are CPUs "
            "for]",
        ),
        click.option(
            "--address",
            metavar="auto|HOST:PORT",
            help="The Ray cluster.  [default: RAY_ADDRESS, or one on this machine for this run]",
        ),
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default=ENGINES[0],
            show_default=True,
            help="ray: workers on all machines of a Ray cluster, with a disk that all of them see "
            "(pip install 'blurvid[ray]').",
        ),
    ):
        command = option(command)
    return command


def picked_engine(values: dict[str, Any]) -> RayOptions | None:
    """The cluster that was asked for; None is this process.

    Raises:
        click.UsageError: options of a cluster without one.
    """
    if values["engine"] == "ray":
        return RayOptions(values["address"], values["workers"])
    if values["address"] is not None or values["workers"] is not None:
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


def weights_options(command: Command) -> Command:
    """Options that choose the model and its weights."""
    for option in (
        click.option(
            "--weights",
            "weights_name",
            metavar="NAME|DIR",
            help="Weight set: a name from `blurvid weights list` or a folder.",
        ),
        click.option(
            "--model",
            type=click.Choice(["auto", *MODELS]),
            default="auto",
            show_default=True,
            help="auto is motion, where its weights are there.",
        ),
        fast_option("The direct model: seconds instead of a minute, and less sharp"),
    ):
        command = option(command)
    return command


def clip_options(command: Command) -> Command:
    """Options that say how seven frames are shown."""
    default = ClipOptions()
    for option in (
        click.option(
            "--crf",
            default=default.crf,
            show_default=True,
            help="H.264 quality, from 0 (best) to 51.",
        ),
        click.option(
            "--seconds",
            default=default.seconds,
            show_default=True,
            help="Loop an MP4 of a photo until it lasts at least this long [s].",
        ),
        click.option(
            "--caption/--no-caption",
            default=default.caption,
            show_default=True,
            help="Say in a --compare which is which.",
        ),
        click.option(
            "--square", is_flag=True, help="Make a --compare a square, of where most moves."
        ),
        click.option(
            "--compare",
            type=click.Choice(COMPARISONS),
            help="Write .mp4 and .gif as a clip to be posted, of the blurred photo against the "
            "frames: wiped, side by side or in turns; at most 1080 px and 8 MB.",
        ),
        click.option(
            "--reverse", is_flag=True, help="Turn the order of time around, after all else."
        ),
        click.option(
            "--bounce/--once",
            default=default.bounce,
            show_default=True,
            help="Play forth and back, or forth only.",
        ),
        click.option(
            "--fps",
            type=parse_rate,
            default=default.fps,
            metavar="N|slow|keep",
            help="Frames per second. Of videos also slow (their own rate: 7 times as long) or keep "
            f"(7 times that: as long as before).  [default: {default.fps:g}; videos: slow]",
        ),
    ):
        command = option(command)
    return command


def order_options(command: Command) -> Command:
    """Options that say which way time runs."""
    for option in (
        click.option(
            "--flip",
            "flips",
            multiple=True,
            metavar="X,Y|X,Y,W,H|MASK",
            help="Turn time around for one object: what moves at a point, in a rectangle, both in "
            "pixels or percent (10%,20%,30%,40%) of the upright photo, or where the image MASK is "
            "white. May be given again.",
        ),
        click.option(
            "--direction",
            type=click.Choice(DIRECTIONS),
            default=OrderOptions().direction,
            show_default=True,
            help="Turn time so that most of what moves goes there; auto leaves it as the model "
            "answers.",
        ),
    ):
        command = option(command)
    return command


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


def hint_options(command: Command) -> Command:
    """Options that tell the motion model what is known of the motion."""
    for option in (
        click.option(
            "--still",
            multiple=True,
            metavar="X,Y,W,H|MASK",
            help="What stays at rest: a rectangle or a mask, as for --flip. May be given again.",
        ),
        click.option(
            "--motion",
            callback=way,
            metavar="DX,DY",
            help="About how far the picture moves from the first frame to the last, in pixels of "
            "the photo: where the search begins, when it fails by itself.",
        ),
    ):
        command = option(command)
    return command


def picked(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make an options object from the command-line values of its fields."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})


def echo_json(record: dict[str, Any]) -> None:
    """Write one JSON object as a line on stdout."""
    click.echo(json.dumps(record))


existing = click.Path(path_type=Path)
"""A path that the library itself looks at, so that its errors and codes are the same."""
