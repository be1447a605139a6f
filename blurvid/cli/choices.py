"""Options that say how frames are made and shown."""

from __future__ import annotations

from collections.abc import Callable

import click

from blurvid.cli import values
from blurvid.cli.options import results, sources
from blurvid.cli.sections import below
from blurvid.cli.values import options
from blurvid.config import (
    DIRECTIONS,
    MIDDLE_CHOICES,
    MODELS,
    QUALITIES,
    ClipOptions,
    OrderOptions,
    QualityOptions,
    VideoOptions,
    Wanted,
)

model = below("Model", Wanted, QualityOptions)
clips = below("Clips", ClipOptions, VideoOptions)
order = below("Order of time", ClipOptions, OrderOptions)


def fast_option(text: str) -> Callable[[values.Command], values.Command]:
    """The option that takes what is quick."""
    return model("--fast", is_flag=True, help=f"{text}.")


weights_options = options(
    fast_option("In seconds, and less sharp. The direct model"),
    model(
        "--model",
        type=click.Choice(["auto", *MODELS]),
        help="auto is motion, where its weights are there.",
    ),
    model(
        "--weights",
        "weights_name",
        metavar="NAME|DIR",
        help="Weight set. A name from `blurvid weights list` or a folder.",
    ),
)
"""Options that choose the model and its weights."""


def middle_option(text: str) -> Callable[[values.Command], values.Command]:
    """The option that says what gives the middle frame."""
    return model(
        "--middle",
        metavar="NAME|FILE",
        help=f"{text}. {', '.join(MIDDLE_CHOICES)}, a weight set, or a .pth or .safetensors file "
        "of any deblurrer that spandrel can read.",
    )


clip_options = options(
    clips(
        "--fps",
        type=values.parse_rate,
        default=None,
        metavar="N|slow|keep",
        help="Frames per second. Of videos also slow (their own rate: 7 times as long) or keep "
        f"(7 times that: as long as before).  [default: {ClipOptions.fps:g}; videos: slow]",
    ),
    clips("--bounce/--once", help="Play forth and back, or forth only."),
    order("--reverse", help="Turn the order of time around, after all else."),
    clips(
        "--compare",
        help="Against the photo: wiped, side by side, in turns. A clip to be posted (.mp4, .webm, "
        ".gif, .webp), of at most 1080 px and 8 MB.",
    ),
    clips("--square", help="Make a --compare a square, of where most moves."),
    clips("--caption/--no-caption", help="Say in a --compare which is which."),
    clips("--seconds", help="Loop an MP4 of a photo until it lasts at least this long [s]."),
    clips("--crf", help="H.264 quality, from 0 (best) to 51."),
)
"""Options that say how seven frames are shown."""
order_options = options(
    order(
        "--direction",
        type=click.Choice(DIRECTIONS),
        help="Which way most of what moves shall go. Turns time; auto leaves it as the model "
        "answers.",
    ),
    order(
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
    sources(
        "--region",
        metavar="X,Y,W,H",
        help="Work on this rectangle alone, in pixels or percent (10%,20%,30%,40%) of the upright "
        "picture: it is what is written, or with --paste a part of it. Time and memory are "
        "those of the rectangle.",
    ),
    results(
        "--paste",
        is_flag=True,
        help="Put the --region back into the whole picture, with a soft edge.",
    ),
)
"""Options that say which part of a picture is worked on."""
hint_options = options(
    model(
        "--motion",
        type=values.parse_way,
        metavar="DX,DY",
        help="About how far the picture moves from the first frame to the last, in pixels of "
        "the photo: where the search begins, when it fails by itself.",
    ),
    model(
        "--still",
        multiple=True,
        metavar="X,Y,W,H|MASK",
        help="What stays at rest: a rectangle or a mask, as for --flip. May be given again.",
    ),
)
"""Options that tell the motion model what is known of the motion."""
passes_option = model(
    "--quality",
    "passes",
    type=click.Choice(list(QUALITIES)),
    default=next(iter(QUALITIES)),
    show_default=True,
    callback=values.passes_of,
    help="good and best take two and four times as long. Passes averaged, of the photo mirrored, "
    "too.",
)

quality_options = options(
    passes_option,
    model(
        "--scale",
        type=values.parse_scale,
        metavar="auto|FLOAT",
        help="Size at which the network sees the photo, 1 being its own; the frames have the "
        "photo's size all the same. Smaller for longer blur; auto measures it.",
    ),
)
"""Options that say what is done besides one plain pass."""
