"""`blurvid eval`: scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import choices, options, values
from blurvid.cli.boundary import echo_json, warn
from blurvid.cli.scores import show_report
from blurvid.cli.sections import SectionedCommand, below
from blurvid.config import MIDDLE_CHOICES, Gamma, QualityOptions, RunOptions
from blurvid.lab.options import BLUR_FOLDERS, GOPRO7, PROTOCOLS, SynthOptions

if TYPE_CHECKING:
    from blurvid.lab.evaluate import Row

DEFAULT = SynthOptions()
FIRST = "fast model weights_name middle protocol clip_scale stride device as_json quiet"
scored = below("What is scored")
windows = below("Windows of clips")
MORE = """
blurvid eval windows/ --model cascade --json
blurvid eval GOPRO_Large/ --protocol gopro1111 --blur-folder blur_gamma

A folder with a samples.json will do, too. Of clips, windows are made on the fly. forward is PSNR
in the order given; pPSNR that of the better order of time, chosen for each window as a whole. The
blurry photo and the middle frame, each repeated seven times, are what a model must beat. The last
line tells how well the expected PSNR of `extract` (trust) ranks the windows, and how well the re-
blur does.

With --protocol, SRC is a copy of GoPro's data (or its test folder), and the scores of the middle
frame stand beside those that the paper's Table 2 gives for Jin 2018 and Nah 2017: gopro7 averages
7 frames of GOPRO_Large_all at 45 % of their size; gopro1111 takes the blurry images that
GOPRO_Large holds. What the paper leaves open is printed with the result.
"""


@click.command("eval", cls=SectionedCommand, first=FIRST, more=MORE)
@click.argument("source", type=options.existing, metavar="SRC")
@choices.weights_options
@choices.model(
    "--middle",
    default=MIDDLE_CHOICES[0],
    show_default=True,
    metavar="NAME|FILE",
    help="What gives the middle frame. As for `blurvid extract`.",
)
@choices.quality_options
@scored(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="A column of the paper's Table 2. On GoPro's test scenes.",
)
@scored(
    "--blur-folder",
    type=click.Choice(BLUR_FOLDERS),
    help=f"Stored blurry images that gopro1111 takes.  [default: {BLUR_FOLDERS[0]}]",
)
@windows(
    "--gamma",
    type=values.parse_gamma,
    metavar="FLOAT|srgb",
    help="Camera response of the re-blur, and of windows made of clips.  "
    f"[default: {DEFAULT.gamma}; gopro7: {GOPRO7.gamma}]",
)
@windows(
    "--clip-scale",
    type=float,
    help=f"Downscaling of clips, as --scale of synth.  [default: {DEFAULT.scale}]",
)
@windows("--stride", type=int, help="Frames from one window of a clip to the next.")
@options.memory_option
@options.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each window.")
@values.takes(quality=QualityOptions, run=RunOptions)
def evaluate(
    source: Path,
    weights_name: str | None,
    model: str,
    fast: bool,
    middle: str,
    protocol: str | None,
    blur_folder: str | None,
    gamma: Gamma | None,
    clip_scale: float | None,
    stride: int | None,
    quality: QualityOptions,
    run: RunOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score a model on windows with known frames.

    SRC is a folder of windows, as `blurvid synth` makes them, or clips.

    \b
    Examples:
      blurvid eval windows/
      blurvid eval clips/ --stride 3 --fast
      blurvid eval GOPRO_Large_all/ --protocol gopro7
    """
    if protocol is not None:
        values.refuse(("clip_scale", "stride"), "does not go with --protocol")
    else:
        values.refuse(("blur_folder",), "does not go with windows alone")
    values.refuse_missing([source])
    from blurvid.lab import evaluate as library
    from blurvid.pipeline import opened
    from blurvid.recipe import resolve

    # What is scored on is opened before the weights are.
    benchmark = None
    if protocol is not None:
        benchmark = library.open_protocol(protocol, source, gamma=gamma, blur_folder=blur_folder)
        for warning in benchmark.warnings:
            warn(warning)
        windows = benchmark.windows()
    else:
        windows = library.windows_from(source, _options(gamma, clip_scale, stride))
    model = values.picked_model(model, fast)
    recipe = resolve(weights_name, model, middle, quality=quality, precision=run.precision)
    for warning in recipe.warnings:
        warn(warning)
    with opened(recipe, run) as ready:
        report = library.evaluate(
            lambda y: ready.scaled(y).frames,
            windows,
            None if protocol else gamma,
            on_window=None if quiet else _show_window,
        )
    if as_json:
        published = benchmark.to_json() if benchmark else {}
        about = recipe.record() | {"source": str(source)}
        echo_json(about | published | report.to_json())
        return
    done = ", ".join(filter(None, (f"weights {recipe.weights.name}", recipe.describe())))
    show_report(report, f"{recipe.model} ({done})", benchmark)


def _show_window(row: Row) -> None:
    click.echo(f"{row.window}: {row.score.ppsnr:.2f} dB", err=True)


def _options(gamma: Gamma | None, scale: float | None, stride: int | None) -> SynthOptions:
    """Options of windows made on the fly; what is not given stays as it is by default."""
    given: dict[str, Any] = {"gamma": gamma, "scale": scale, "stride": stride}
    return dataclasses.replace(DEFAULT, **{k: v for k, v in given.items() if v is not None})
