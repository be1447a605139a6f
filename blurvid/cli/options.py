"""Options that commands share: which photos, where the work is done, what is told."""

from __future__ import annotations

from pathlib import Path

import click

from blurvid.cli import values
from blurvid.cli.sections import below
from blurvid.cli.values import options
from blurvid.config import ENGINES, FREE_SHARE, MOST_WRITERS, RunOptions, Wanted

sources = below("Sources")
results = below("Results", Wanted)
where = below("Where it runs", RunOptions)
told = below("What is told")

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
