"""`blurvid eval`: scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from blurvid.cli import common
from blurvid.cli.robustness import score_robustness
from blurvid.cli.score_video import score_video
from blurvid.cli.scores import AnyReport, show_report
from blurvid.cli.sections import SCORES, SectionedCommand
from blurvid.cli.synth import gamma_option
from blurvid.config import MIDDLE_CHOICES, Gamma, QualityOptions, RunOptions
from blurvid.errors import OptionError
from blurvid.lab.options import BLUR_FOLDERS, GOPRO7, PROTOCOLS, SynthOptions

if TYPE_CHECKING:
    from torch import Tensor

    from blurvid.lab.evaluate import MiddleRow, Row, TimesRow
    from blurvid.pipeline import Extractor

Scoring: TypeAlias = "Callable[[Extractor], AnyReport]"
OnWindow: TypeAlias = "Callable[[Row | MiddleRow | TimesRow], None] | None"

DEFAULT = SynthOptions()
_WINDOWS = frozenset(("middle", "gamma", "clip-scale", "stride"))
TAKES = {
    None: _WINDOWS,
    "frames": _WINDOWS,
    "beyond": _WINDOWS,
    "video": _WINDOWS - {"middle"},
    "protocol": frozenset(("middle", "gamma", "blur-folder")),
    "robustness": frozenset(("middle", "stills", "limit", "clip-scale")),
}
"""Which options each way of scoring takes besides those that all take."""


@click.command("eval", cls=SectionedCommand, sections=SCORES)
@click.argument("source", type=common.existing, metavar="SRC")
@common.weights_options
@click.option(
    "--middle",
    "middles",
    multiple=True,
    metavar="NAME|FILE",
    help="What gives the cascade its middle frame; with --robustness what to score, repeatable. "
    f"As for `blurvid deblur`.  [default: {MIDDLE_CHOICES[0]}]",
)
@common.quality_options
@click.option(
    "--robustness",
    is_flag=True,
    help="Score middle frames on kinds of blur made of the sharp frames of SRC.",
)
@click.option("--stills", is_flag=True, help="SRC is sharp photos; with --robustness.")
@click.option(
    "--limit", type=int, metavar="N", help="Most moments, evenly spread; with --robustness."
)
@click.option("--seed", default=0, show_default=True, help="Of the blurs of --robustness.")
@click.option(
    "--video",
    is_flag=True,
    help="SRC is clips of a high rate: make blurry videos of them, and score the way back.",
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="Repeat a column of the paper's Table 2 on GoPro's test scenes.",
)
@click.option(
    "--blur-folder",
    type=click.Choice(BLUR_FOLDERS),
    help=f"Stored blurry images that gopro1111 takes.  [default: {BLUR_FOLDERS[0]}]",
)
@click.option(
    "--frames",
    type=int,
    metavar="N",
    help="Score the frames that `extract --frames N` makes between the seven, on averages of N "
    "frames of the clips in SRC: 13, 19, 25 and so on.",
)
@click.option(
    "--beyond",
    type=int,
    metavar="K",
    help="Score the frames that `extract --beyond K` makes, on averages of 7 frames of the clips "
    "in SRC that have K more on both sides.",
)
@gamma_option(
    None,
    "Camera response of the re-blur, and of windows made of clips.  "
    f"[default: {DEFAULT.gamma}; gopro7: {GOPRO7.gamma}]",
)
@click.option(
    "--clip-scale",
    type=float,
    help=f"Downscaling of clips, as --scale of synth.  [default: {DEFAULT.scale}]",
)
@click.option("--stride", type=int, help="Frames from one window of a clip to the next.")
@common.memory_option
@common.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each window.")
def evaluate(
    source: Path,
    weights_name: str | None,
    model: str,
    fast: bool,
    protocol: str | None,
    blur_folder: str | None,
    frames: int | None,
    beyond: int | None,
    gamma: str | None,
    clip_scale: float | None,
    stride: int | None,
    middles: tuple[str, ...],
    robustness: bool,
    stills: bool,
    limit: int | None,
    seed: int,
    video: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Score a model on windows with known frames.

    SRC is a folder of windows (made by `blurvid synth`, or with a samples.json), or clips from
    which windows are made on the fly.

    forward is PSNR in the order given; pPSNR that of the better order of time, chosen for each
    window as a whole. The blurry photo and the middle frame, each repeated seven times, are what
    a model must beat; the true middle frame repeated is there for reference. The last line tells
    how well the expected PSNR of `extract` (trust) ranks the windows, beside simpler numbers.

    With --protocol, SRC is a copy of GoPro's data (or its test folder), and the scores of the
    middle frame stand beside those that the paper's Table 2 gives for Jin 2018 and Nah 2017:
    gopro7 averages 7 frames of GOPRO_Large_all at 45 % of their size; gopro1111 takes the blurry
    images that GOPRO_Large holds. What the paper leaves open is printed with the result.

    With --robustness, every kind of blur is made of the same sharp moments, and the middle frames
    of several models are scored on it: gain over the blurry image, in the domain of their training
    and out of it, with 95 % intervals (bootstrap over clips).

    With --video, windows side by side (--stride above 7: with gaps between them) are a blurry
    video: in how many of its frames the order of time is right, and PSNR of all frames beside
    the blurry frames repeated, and faded into one another.

    \b
    Examples:
      blurvid eval windows/
      blurvid eval clips/ --video --stride 9
      blurvid eval windows/ --model cascade --json
      blurvid eval GOPRO_Large_all/ --protocol gopro7
      blurvid eval GOPRO_Large/ --protocol gopro1111 --blur-folder blur_gamma
      blurvid eval clips/ --frames 13 --stride 3
      blurvid eval clips/ --beyond 3 --stride 1
      blurvid eval windows/ --robustness --middle bdirnet --middle direct
    """
    model = common.picked_model(model, fast)
    ways = {"robustness": robustness, "video": video, "protocol": protocol}
    ways |= {"beyond": beyond is not None, "frames": frames is not None}
    way = next((name for name, asked in ways.items() if asked), None)
    given = {"middle": bool(middles), "gamma": gamma is not None, "stills": stills}
    given |= {"limit": limit is not None, "blur-folder": blur_folder is not None}
    given |= {"clip-scale": clip_scale is not None, "stride": stride is not None}
    for name, asked in (ways | given).items():
        if asked and name != way and name not in TAKES[way]:
            raise OptionError(f"--{name} does not go with {f'--{way}' if way else 'windows alone'}")
    response = common.parse_gamma(gamma) if gamma else None
    options = _options(response, clip_scale, stride)
    if robustness:
        score_robustness(
            source, middles, stills, options.scale, limit, seed, as_json, quiet, values
        )
        return
    if video:
        score_video(source, options, weights_name, model, as_json, quiet, values)
        return
    if len(middles) > 1:
        raise OptionError("several --middle go with --robustness only")
    middle = middles[0] if middles else MIDDLE_CHOICES[0]
    from blurvid.pipeline import opened
    from blurvid.recipe import resolve

    on_window = None if quiet else _show_window
    if beyond is not None:
        score = _beyond(source, beyond, options, on_window)
    elif frames is not None:
        score = _between(source, frames, options, on_window)
    elif protocol:
        score = _as_published(source, protocol, response, blur_folder, on_window)
    else:
        score = _seven(source, options, response, on_window)

    run, quality = common.picked(RunOptions, values), common.picked(QualityOptions, values)
    recipe = resolve(weights_name, model, middle, quality=quality, precision=run.precision)
    for warning in recipe.warnings:
        common.warn(warning)
    with opened(recipe, run) as ready:
        report = score(ready)
    if as_json:
        common.echo_json(recipe.record() | {"source": str(source)} | report.to_json())
        return
    done = ", ".join(filter(None, (f"weights {recipe.weights.name}", recipe.describe())))
    show_report(report, f"{recipe.model} ({done})")


# What is scored on is opened before the weights are; each gives how an extractor is scored on it.


def _seven(
    source: Path, options: SynthOptions, response: Gamma | None, on_window: OnWindow
) -> Scoring:
    from blurvid.lab import evaluate as library

    windows = library.windows_from(source, options)
    return lambda ready: library.evaluate(_frames(ready), windows, response, on_window=on_window)


def _between(source: Path, frames: int, options: SynthOptions, on_window: OnWindow) -> Scoring:
    from blurvid.lab import evaluate as library

    windows = library.windows_of(source, frames, options)
    return lambda ready: library.evaluate_between(
        _frames(ready), windows, frames, on_window=on_window
    )


def _beyond(source: Path, beyond: int, options: SynthOptions, on_window: OnWindow) -> Scoring:
    from blurvid.lab import evaluate as library

    windows = library.windows_beyond(source, beyond, options)

    def score(ready: Extractor) -> AnyReport:
        def more(y: Tensor) -> Tensor:
            found = ready.scaled(y)
            return ready.extended(found.frames, y, beyond, found.scale, found.fitted)[0]

        return library.evaluate_beyond(more, windows, beyond, on_window=on_window)

    return score


def _as_published(
    source: Path,
    protocol: str,
    response: Gamma | None,
    blur_folder: str | None,
    on_window: OnWindow,
) -> Scoring:
    from blurvid.lab import evaluate as library

    benchmark = library.open_protocol(protocol, source, gamma=response, blur_folder=blur_folder)
    for warning in benchmark.warnings:
        common.warn(warning)
    return lambda ready: benchmark.score(_frames(ready), on_window=on_window)


def _frames(ready: Extractor) -> Callable[[Tensor], Tensor]:
    return lambda y: ready.scaled(y).frames


def _show_window(row: Row | MiddleRow | TimesRow) -> None:
    from blurvid.lab import evaluate as library

    if isinstance(row, library.TimesRow):
        value = next(value for scores in row.scores.values() for value in scores.values())
    else:
        value = row.score.ppsnr if isinstance(row, library.Row) else row.score.psnr
    click.echo(f"{row.window}: {value:.2f} dB", err=True)


def _options(gamma: Gamma | None, scale: float | None, stride: int | None) -> SynthOptions:
    """Options of windows made on the fly; what is not given stays as it is by default."""
    given: dict[str, Any] = {"gamma": gamma, "scale": scale, "stride": stride}
    return dataclasses.replace(DEFAULT, **{k: v for k, v in given.items() if v is not None})
