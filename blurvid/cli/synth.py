"""`blurvid synth`: blurry/sharp windows from clips and photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blurvid.cli import options as cli_options
from blurvid.cli import values
from blurvid.cli.boundary import exit_code, fail, warn
from blurvid.cli.sections import SectionedCommand
from blurvid.config import DEFAULT_GAMMA, FRAMES, RayOptions
from blurvid.errors import BlurvidError, OptionError
from blurvid.lab.options import MOST_MAKERS, MotionOptions, SynthOptions

if TYPE_CHECKING:
    from blurvid.lab.data.windows import Record, SourceClip

DEFAULT = SynthOptions()
MOTION = MotionOptions()


SECTIONS = {
    "Results": ("output", "resume"),
    "Windows": ("frames", "stride", "scale", "crop", "gamma", "noise", "seed"),
    "Simulated motion": ("stills", "count", "max_path", "layers", "order"),
    "Where it runs": cli_options.WHERE,
    "What is told": cli_options.TOLD,
}
FIRST = "output frames stride scale gamma stills count seed jobs resume".split()
MORE = """
blurvid synth GOPRO_Large_all/test -o again/ --resume
blurvid synth clips/ -o windows/ --engine ray --address auto

Each window is a folder with blurry.png and sharp_1.png .. sharp_7.png; manifest.jsonl tells how
each was made. A GoPro folder is GOPRO_Large_all/train and so on.
"""


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    first=FIRST,
    more=MORE,
    short_help="Make blurry/sharp windows of clips or photos.",
)
@click.argument("sources", nargs=-1, required=True, type=cli_options.existing, metavar="SRC...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("windows"),
    show_default=True,
    help="Folder to fill.",
)
@click.option("--frames", default=DEFAULT.frames, show_default=True, help="Frames averaged; odd.")
@click.option(
    "--stride", type=int, help="Frames from one window to the next.  [default: no overlap]"
)
@click.option(
    "--scale",
    default=DEFAULT.scale,
    show_default=True,
    help="Downscaling; the paper uses 0.45 on 1280x720.",
)
@click.option("--crop", type=int, help="Side of a random square crop [px]; the paper uses 320.")
@cli_options.gamma_option(
    f"Camera response in which light adds up; 1.0 as stored.  [default: {DEFAULT_GAMMA}]"
)
@click.option(
    "--noise", default=DEFAULT.noise, show_default=True, help="Of the blurry image; paper: 0.01."
)
@click.option("--seed", default=DEFAULT.seed, show_default=True, help="Of crops, noise and motion.")
@click.option("--stills", is_flag=True, help="SRC are sharp photos: simulate motion.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Windows from each photo (--stills).",
)
@click.option(
    "--max-path",
    default=MOTION.max_path,
    show_default=True,
    help="Longest simulated path over the exposure [px] (--stills).",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 2),
    default=2,
    show_default=True,
    help="Most layers, background included; 1 moves whole photos (--stills).",
)
@click.option(
    "--order",
    type=click.Choice(["canonical", "random"]),
    default=MOTION.order,
    show_default=True,
    help="Direction of simulated motion: always the canonical one, or either (--stills).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads that make windows; the files do not depend on it.  [default: one a "
    f"processor, at most {MOST_MAKERS}]",
)
@cli_options.engine_options
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
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
    cluster = values.picked_engine(engine, ray)
    if stills and options.frames != FRAMES:
        raise OptionError(f"simulated windows have {FRAMES} frames, not {options.frames}")
    if layers < 2:
        motion = dataclasses.replace(motion, covered=0.0)
    from blurvid.lab.data import windows as library

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

    summary = library.write_windows(
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
        click.get_current_context().exit(exit_code(failures[0]))
