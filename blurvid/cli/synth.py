"""`blurvid synth`: blurry/sharp windows from clips and photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blurvid.cli import options as cli_options
from blurvid.cli import values
from blurvid.cli.boundary import fail, warn
from blurvid.cli.photos import picked_engine
from blurvid.cli.sections import SectionedCommand, below
from blurvid.config import FRAMES, RayOptions
from blurvid.errors import BlurvidError, OptionError
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions

if TYPE_CHECKING:
    from blurvid.lab.data import Record, SourceClip

FIRST = "output frames stride scale gamma stills count seed jobs resume"
made = below("Windows", SynthOptions)
simulated = below("Simulated motion", MotionOptions)
MORE = """
blurvid synth GOPRO_Large_all/test -o again/ --resume
blurvid synth clips/ -o windows/ --engine ray --address auto

Each window is a folder with blurry.png and sharp_1.png .. sharp_7.png; manifest.jsonl tells how
each was made. A GoPro folder is GOPRO_Large_all/train and so on.
"""


@click.command(
    cls=SectionedCommand,
    first=FIRST,
    more=MORE,
    short_help="Make blurry/sharp windows of clips or photos.",
)
@click.argument("sources", nargs=-1, required=True, type=cli_options.existing, metavar="SRC...")
@cli_options.results(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("windows"),
    show_default=True,
    help="Folder to fill.",
)
@made("--frames", help="Frames averaged; odd.")
@made("--stride", help="Frames from one window to the next.  [default: no overlap]")
@made("--scale", help="Downscaling; the paper uses 0.45 on 1280x720.")
@made("--crop", help="Side of a random square crop [px]; the paper uses 320.")
@made(
    "--gamma",
    type=values.number_or("srgb"),
    metavar="FLOAT|srgb",
    help="Camera response in which light adds up; 1.0 as stored.",
)
@made("--noise", help="Of the blurry image; paper: 0.01.")
@made("--seed", help="Of crops, noise and motion.")
@simulated("--stills", is_flag=True, help="SRC are sharp photos: simulate motion.")
@simulated(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Windows from each photo (--stills).",
)
@simulated("--max-path", help="Longest simulated path over the exposure [px] (--stills).")
@simulated(
    "--layers",
    type=click.IntRange(1, 2),
    default=2,
    show_default=True,
    help="Most layers, background included; 1 moves whole photos (--stills).",
)
@simulated("--shaken", help="Share of photos before a camera that shakes (--stills).")
@simulated(
    "--order",
    help="Direction of simulated motion: always the canonical one, or either (--stills).",
)
@cli_options.where(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that make windows; the files do not depend on it.  [default: one a "
    f"processor, at most {MOST_MAKERS}]",
)
@cli_options.engine_options
@cli_options.results("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only.")
@values.takes(options=SynthOptions, motion=MotionOptions, ray=RayOptions)
def synth(
    sources: tuple[Path, ...],
    output: Path,
    options: SynthOptions,
    motion: MotionOptions,
    stills: bool,
    count: int,
    layers: int,
    jobs: int | None,
    engine: str,
    ray: RayOptions,
    resume: bool,
    quiet: bool,
) -> None:
    """Make blurry/sharp windows of clips, or of photos (--stills).

    SRC is a video, a folder of frames, a GoPro folder, or a folder of those.

    \b
    Examples:
      blurvid synth GOPRO_Large_all/test -o windows/ --scale 0.45
      blurvid synth clip.mp4 -o windows/ --stride 1 --gamma srgb
      blurvid synth --stills photos/ -o windows/ --count 4
    """
    values.refuse_missing(sources)
    cluster = picked_engine(engine, ray)
    if stills and options.frames != FRAMES:
        raise OptionError(f"simulated windows have {FRAMES} frames, not {options.frames}")
    if not stills:
        values.refuse(("count",), "goes with --stills")
    if layers < 2:
        motion = dataclasses.replace(motion, covered=0.0)
    from blurvid.lab.data import write_windows

    failures: list[BlurvidError] = []
    told: set[str] = set()

    def note(record: Record) -> None:
        if quiet:
            return
        click.echo(f"{record['window']}  {record['motion']['median_px']:.1f} px", err=True)
        if record["clip"] not in told:
            told.add(record["clip"])
            for gap in record.get("gaps", ()):
                warn(f"{record['clip']}: {gap}; no window reaches across")
        for warning in record["warnings"]:
            warn(f"{record['window']}: {warning}")

    def give_up(clip: SourceClip, error: BlurvidError) -> None:
        failures.append(error)
        fail(error)

    summary = write_windows(
        sources,
        output,
        options,
        motion=motion if stills else None,
        count=count,
        resume=resume,
        jobs=jobs,
        ray=cluster,
        on_window=note,
        on_error=give_up,
    )
    if not quiet:
        click.echo(
            f"{summary.written} windows written, {summary.skipped} skipped, "
            f"{summary.warned} with warnings, {summary.failed} sources failed",
            err=True,
        )
    if summary.written + summary.skipped:
        click.echo(summary.manifest)
    if failures:
        click.get_current_context().exit(failures[0].code)
