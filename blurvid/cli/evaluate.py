"""`blurvid eval`: scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blurvid.cli import common
from blurvid.cli.quality import described, picked_quality, quality_options
from blurvid.cli.robustness import print_table, score_robustness
from blurvid.cli.score_video import score_video
from blurvid.cli.synth import gamma_option, parse_gamma
from blurvid.config import (
    BLUR_FOLDERS,
    GOPRO7,
    MIDDLE_CHOICES,
    PROTOCOLS,
    Gamma,
    RunOptions,
    SynthOptions,
)
from blurvid.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from blurvid.evaluate import (
        BetweenReport,
        BetweenRow,
        BeyondReport,
        BeyondRow,
        MeanScore,
        MiddleRow,
        MiddleSummary,
        ProtocolReport,
        Report,
        Row,
        Summary,
    )

DEFAULT = SynthOptions()


@click.command("eval")
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
@quality_options
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
@common.compile_option
@common.run_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No line for each window.")
def evaluate(
    source: Path,
    weights_name: str | None,
    model: str,
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
    if video and (robustness or stills or limit is not None):
        raise OptionError("--video goes without --robustness, --stills and --limit")
    if robustness:
        others: dict[str, object] = {"--protocol": protocol, "--stride": stride, "--gamma": gamma}
        _refuse_others(others | {"--frames": frames, "--beyond": beyond})
        scale = DEFAULT.scale if clip_scale is None else clip_scale
        score_robustness(source, middles, stills, scale, limit, seed, as_json, quiet, values)
        return
    if video and (middles or protocol or blur_folder or beyond is not None):
        raise OptionError("--video goes without --middle, --protocol and --beyond")
    if video:
        options = _options(parse_gamma(gamma) if gamma else None, clip_scale, stride)
        score_video(source, options, weights_name, model, as_json, quiet, values)
        return
    if stills or limit is not None:
        raise OptionError("--stills and --limit go with --robustness")
    if len(middles) > 1:
        raise OptionError("several --middle go with --robustness only")
    middle = middles[0] if middles else MIDDLE_CHOICES[0]
    from blurvid import evaluate as library
    from blurvid import weights
    from blurvid.pipeline import extended, extractor

    response = parse_gamma(gamma) if gamma else None
    benchmark = None
    if beyond is not None:
        if frames is not None or protocol or blur_folder:
            raise OptionError("--beyond does not go with --frames and --protocol")
        outer = library.windows_beyond(source, beyond, _options(response, clip_scale, stride))
    elif frames is not None:
        if protocol or blur_folder:
            raise OptionError("--frames does not go with --protocol")
        inner = library.windows_of(source, frames, _options(response, clip_scale, stride))
    elif protocol:
        _refuse_fixed(protocol, {"--clip-scale": clip_scale, "--stride": stride})
        benchmark = library.open_protocol(protocol, source, gamma=response, blur_folder=blur_folder)
        for warning in benchmark.warnings:
            common.warn(warning)
    else:
        if blur_folder:
            raise OptionError(f"--blur-folder goes with --protocol {PROTOCOLS[1]} only")
        windows = library.windows_from(source, _options(response, clip_scale, stride))

    def show(row: Row | MiddleRow | BetweenRow | BeyondRow) -> None:
        if isinstance(row, library.BetweenRow):
            value = row.between.motion
        elif isinstance(row, library.BeyondRow):
            value = row.beyond[0].made
        else:
            value = row.score.ppsnr if isinstance(row, library.Row) else row.score.psnr
        click.echo(f"{row.window}: {value:.2f} dB", err=True)

    guided = bool(middles) and model == "auto" and weights_name is None
    chosen = weights.find(weights_name, "cascade" if guided else model)
    on_window = None if quiet else show
    report: Report | ProtocolReport | BetweenReport | BeyondReport
    run, quality = common.picked(RunOptions, values), picked_quality(values)
    with extractor(chosen, run=run, quality=quality, middle=middle) as ready:
        for warning in ready.warnings:
            common.warn(warning)

        def extract(y: Tensor) -> Tensor:
            return ready.scaled(y).frames

        if beyond is not None:

            def more(y: Tensor) -> Tensor:
                found = ready.scaled(y)
                return extended(ready, found.frames, y, beyond, found.scale)[0]

            report = library.evaluate_beyond(more, outer, beyond, on_window=on_window)
        elif frames is not None:
            report = library.evaluate_between(extract, inner, frames, on_window=on_window)
        elif benchmark:
            report = benchmark.score(extract, on_window=on_window)
        else:
            report = library.evaluate(extract, windows, response, on_window=on_window)
    done = described(ready.quality)
    if ready.middle is not None:
        done = ", ".join(filter(None, (f"middle frame by {ready.middle.name}", done)))
    title = f"{chosen.model} (weights {chosen.name}{f', {done}' if done else ''})"
    if as_json:
        about = {
            "model": chosen.model,
            "weights": chosen.name,
            "middle": ready.middle.name if ready.middle else None,
            "source": str(source),
            "quality": dataclasses.asdict(ready.quality),
        }
        common.echo_json(about | report.to_json())
    elif isinstance(report, library.ProtocolReport):
        _show_protocol(report, title)
    elif isinstance(report, library.BetweenReport):
        click.echo(f"Model {title}, {len(report.rows)} windows of {frames} frames")
        print_table(_between_table(report))
    elif isinstance(report, library.BeyondReport):
        click.echo(f"Model {title}, {len(report.rows)} windows of 7 frames")
        print_table(_beyond_table(report))
    else:
        click.echo(f"Model {title}, {len(report.rows)} windows")
        print_table(_table({**report.groups, "all": report.mean}))
        _show_ranking(report)


def _between_table(report: BetweenReport) -> Table:
    from rich.table import Table

    mean = report.mean
    table = Table(title="PSNR [dB]; in the better order of time")
    for name in ("", "at the seven", "between, by motion", "blended", "nearest"):
        table.add_column(name, justify="left" if not name else "right")
    for name, seven, score in (
        ("extracted", f"{mean.seven:.2f}", mean.between),
        ("of the true seven", "", mean.of_true),
    ):
        values = (score.motion, score.blend, score.nearest)
        table.add_row(name, seven, *(f"{value:.2f}" for value in values))
    return table


def _beyond_table(report: BeyondReport) -> Table:
    from rich.table import Table

    mean = report.mean
    table = Table(title="PSNR [dB]; both ends, in the better order of time")
    for name in ("frames away", "made", "outermost of the seven", "blurry"):
        table.add_column(name, justify="right")
    table.add_row("0", f"{mean.outermost:.2f}")
    for score in mean.beyond:
        values = (score.made, score.repeated, score.blurry)
        table.add_row(str(score.away), *(f"{value:.2f}" for value in values))
    return table


def _show_ranking(report: Report) -> None:
    """How well the windows are ranked by what is known without their true frames."""
    ranking = report.ranking
    if ranking is None:
        return
    click.echo(
        f"Trust: the expected PSNR is off by {ranking.error:.1f} dB on average; rank correlation "
        f"with pPSNR {ranking.expected:.2f} (re-blur {ranking.reblur:.2f}, motion found "
        f"{ranking.motion:.2f}, slopes of the blurry photo {ranking.texture:.2f})"
    )


def _refuse_others(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise OptionError(f"{option} does not go with --robustness")


def _options(gamma: Gamma | None, scale: float | None, stride: int | None) -> SynthOptions:
    """Options of windows made on the fly; what is not given stays as it is by default."""
    given: dict[str, Any] = {"gamma": gamma, "scale": scale, "stride": stride}
    return dataclasses.replace(DEFAULT, **{k: v for k, v in given.items() if v is not None})


def _refuse_fixed(protocol: str, given: dict[str, float | None]) -> None:
    for option, value in given.items():
        if value is not None:
            raise OptionError(f"{option} is fixed by --protocol {protocol}")


def _show_protocol(report: ProtocolReport, model: str) -> None:
    benchmark = report.benchmark
    click.echo(f"{benchmark.protocol.column}.")
    click.echo(f"Model {model}, {benchmark.images} images of {len(benchmark.scenes)} scenes")
    print_table(_middle_table(report, model))
    if report.sequence:
        print_table(_table({"all": report.sequence.mean}))
    click.echo("Left open by the paper, done here as follows:")
    for question, answer in benchmark.choices.items():
        click.echo(f"  {question}: {answer}")


def _middle_table(report: ProtocolReport, model: str) -> Table:
    from rich.table import Table

    table = Table(title="Middle frame: PSNR [dB] and SSIM")
    for name in ("", "n", "PSNR", "SSIM", "blurry PSNR", "blurry SSIM"):
        table.add_column(name, justify="left" if not name else "right")
    for figure in report.benchmark.protocol.published:
        table.add_row(f"{figure.method}, published", "", f"{figure.psnr:.2f}")
    table.add_row(model, *_middle_cells(report.middle.mean))
    table.add_section()
    for scene, summary in report.middle.clips.items():
        table.add_row(f"  {scene}", *_middle_cells(summary))
    return table


def _middle_cells(summary: MiddleSummary) -> list[str]:
    scores = (summary.score, summary.blurry)
    cells = [cell for s in scores for cell in (f"{s.psnr:.2f}", f"{s.ssim:.3f}")]
    return [str(summary.windows), *cells]


def _table(summaries: dict[str, Summary]) -> Table:
    from rich.table import Table

    table = Table(title="PSNR [dB]; frames 1..7 in the better order of time")
    for name in ("", "n", "forward", "pPSNR", *"1234567", "SSIM", "re-blur"):
        table.add_column(name, justify="left" if not name else "right")
    for group, summary in summaries.items():
        count = str(summary.windows)
        for label, score, reblur in (
            (group, summary.score, f"{summary.reblur:.1f}"),
            ("  blurry x 7", summary.blurry, ""),
            ("  middle x 7", summary.middle, ""),
            ("  true middle x 7", summary.true_middle, ""),
        ):
            table.add_row(label, count, *_cells(score), reblur)
            count = ""
        table.add_section()
    return table


def _cells(score: MeanScore) -> list[str]:
    return [
        f"{score.psnr:.2f}",
        f"{score.ppsnr:.2f}",
        *(f"{value:.2f}" for value in score.per_frame),
        f"{score.pssim:.3f}",
    ]
