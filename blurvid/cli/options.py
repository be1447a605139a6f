"""Options that commands share: which photos, how frames are made and shown, where, what is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from blurvid.cli import values
from blurvid.cli.sections import below
from blurvid.cli.values import options
from blurvid.config import (
    DIRECTIONS,
    ENGINES,
    FREE_SHARE,
    MIDDLE_CHOICES,
    MODELS,
    MOST_WRITERS,
    QUALITIES,
    ClipOptions,
    RunOptions,
    VideoOptions,
)
from blurvid.recipe import AUTO, Recipe

sources = below("Sources")
results = below("Results", Recipe)
where = below("Where it runs", RunOptions)
model = below("Model", Recipe)
clips = below("Clips", ClipOptions, VideoOptions)
order = below("Order of time", ClipOptions, Recipe)

threads_option = where("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all]")

device_option = where(
    "--device",
    type=values.parse_device,
    metavar="auto|cpu|cuda[:N]|mps",
    help="Where to run; auto takes a GPU if there is one.",
)
precision_option = where(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    help="Precision of the features; images always stay in fp32.",
)

run_options = options(device_option, precision_option, threads_option)
"""Options that say where and how a network runs."""
memory_option = where(
    "--max-memory",
    type=values.parse_size,
    metavar="SIZE",
    help="Most memory to take, such as 3G or 800M: of the GPU, or of the whole process on a CPU. "
    f"Large photos are done in pieces.  [default: {FREE_SHARE:.0%} of what is free]",
)
"""How much memory a photo may take."""

engine_options = options(
    where(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="ray: workers on all machines of a Ray cluster, with a disk that all of them see "
        "(pip install 'blurvid[ray]').",
    ),
    where(
        "--address",
        metavar="auto|HOST:PORT",
        help="The Ray cluster.  [default: RAY_ADDRESS, or one on this machine for this run]",
    ),
    where(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes on the Ray cluster.  [default: one a GPU, or as many as there are CPUs "
        "for]",
    ),
)
"""Options that say who does the work."""

existing = click.Path(path_type=Path)
"""A path that the library itself looks at, so that its errors and codes are the same."""

source_options = options(
    click.argument("photos", nargs=-1, metavar="[PHOTO...]"),
    sources(
        "--files-from",
        "lists",
        multiple=True,
        metavar="FILE|-",
        help="Also take the photos and folders named in FILE, or on standard input, one a "
        "line. Their own folders are kept below OUTPUT.",
    ),
    sources("-0", "--null", is_flag=True, help="Names in lists end in NUL, as by find -print0."),
    sources(
        "--allow-truncated",
        is_flag=True,
        help="Also take photos whose files end early: what is missing stays grey or black.",
    ),
    results(
        "--name",
        metavar="TEMPLATE",
        help="Names below OUTPUT, made of {stem} {suffix} {parent} {index} {model} {weights}, "
        "such as '{parent}/{index:04d}_{stem}'.  [default: the photo's, in its folder]",
    ),
)
"""Options that say which photos, and what their results are called."""


batch_options = options(
    results("--overwrite", is_flag=True, help="Replace existing outputs."),
    results("--skip-existing", is_flag=True, help="Leave out photos that are done: resume."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first photo that fails."),
    sources(
        "--shard",
        "share",
        metavar="I/N",
        type=values.parse_share,
        help="Do only the I-th of N shares of the photos, for N machines or jobs of an array.",
    ),
    where(
        "--jobs",
        "writers",
        type=click.IntRange(min=0),
        metavar="N",
        help="Threads that write results while the network works; 0 does one thing after the "
        f"other.  [default: one a processor, at most {MOST_WRITERS}]",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="One JSON object a line on stdout, for each file.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Errors only."),
    click.option("-v", "--verbose", is_flag=True, help="Say what is used and how long it takes."),
)
"""Options that say how a batch is gone through, and what is told of it."""


def fast_option(text: str) -> Callable[[values.Command], values.Command]:
    """The option that takes what is quick."""
    return model("--fast", is_flag=True, help=f"{text}.")


weights_options = options(
    fast_option("In seconds, and less sharp. The direct model"),
    model(
        "--model",
        type=click.Choice([AUTO, *MODELS]),
        default=AUTO,
        show_default=True,
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
        default=AUTO,
        show_default=True,
        help=f"{text}. {', '.join(MIDDLE_CHOICES)}, a weight set, or a .pth or .safetensors file "
        "of any deblurrer that spandrel can read.",
    )


clip_options = options(
    clips(
        "--fps",
        type=values.number_or("slow", "keep"),
        default=None,
        metavar="N|slow|keep",
        help="Frames per second. Of videos also slow (their own rate: 7 times as long) or keep "
        f"(7 times that: as long as before).  [default: {ClipOptions.fps:g}; videos: slow]",
    ),
    clips("--bounce/--once", help="Play forth and back, or forth only."),
    order("--reverse", help="Turn the order of time around, after all else."),
    clips(
        "--compare",
        help="Against the photo: wipe, side (by side) or flicker. Wide photos are one above the "
        "other. A clip to be posted (.mp4, .webm, .gif, .webp), of at most 1080 px and 8 MB.",
    ),
    clips("--square", help="Make a --compare a square, of where most moves."),
    clips("--caption/--no-caption", help="Say in a --compare which is which."),
    clips("--seconds", help="Loop an MP4 or WebM until it lasts at least this long [s]."),
    clips("--crf", help="Quality of MP4 and WebM, from 0 (best) to 51."),
)
"""Options that say how seven frames are shown."""
order_options = options(
    order(
        "--direction",
        type=click.Choice(DIRECTIONS),
        help="Whether most shall move right, left, up or down. Turns time; auto leaves it as the "
        "model answers.",
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
        multiple=True,
        metavar="DX,DY[@X,Y,W,H|@MASK]",
        help="About how far the picture, or what is there in it, moves from the first frame to the "
        "last, in pixels of the photo: for what is not found by itself. May be given again.",
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
        type=values.number_or("auto"),
        metavar="auto|FLOAT",
        help="Size at which the network sees the photo, 1 being its own; the frames have the "
        "photo's size all the same. Smaller for longer blur; auto measures it.",
    ),
)
"""Options that say what is done besides one plain pass."""
