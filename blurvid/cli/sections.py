"""Help screens of commands with many options, under headings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

ALL = "blurvid.help_all"
"""Where a context keeps whether all options are to be shown."""
_MODEL = (
    *("fast", "model", "weights_name", "middle", "passes"),
    *("constraint", "scale", "motion", "still"),
)
_WHERE = (
    *("device", "precision", "threads", "max_memory"),
    *("engine", "address", "workers", "writers", "jobs"),
)
_TOLD = ("fail_fast", "as_json", "quiet", "verbose", "help", "help_all")

EXTRACTION = {
    "Sources": ("lists", "null", "allow_truncated", "share", "region", "start", "duration"),
    "Results": (
        *("path", "kind", "name", "frames", "beyond", "montages", "flows", "trusts", "contact"),
        *("paste", "overwrite", "skip_existing"),
    ),
    "Clips": ("fps", "bounce", "seconds", "crf", "audio", "compare", "square", "caption"),
    "Order of time": ("direction", "flips", "reverse"),
    "Model": _MODEL,
    "Where it runs": _WHERE,
    "What is told": _TOLD,
}
"""Headings of `extract` and `deblur`, in order, and the parameters below each."""
SCORES = {
    "What is scored": ("protocol", "blur_folder"),
    "Windows of clips": ("gamma", "clip_scale", "stride"),
    "Model": _MODEL,
    "Where it runs": _WHERE,
    "What is told": _TOLD,
}
"""Those of `eval`."""
WINDOWS = {
    "Results": ("output", "resume"),
    "Windows": ("frames", "stride", "scale", "crop", "gamma", "noise", "seed"),
    "Simulated motion": ("stills", "count", "max_path", "layers", "order"),
    "Where it runs": _WHERE,
    "What is told": _TOLD,
}
"""Those of `synth`."""
TRAINING = {
    "Run": ("data", "out", "sheet", "init", "resume", "minutes", "max_steps"),
    "Model": ("model", "stages"),
    "Steps": ("batch", "crop", "lr", "seed", "settings"),
    "Losses": ("order", "loss", "adversarial", "perceptual", "vgg"),
    "Where it runs": _WHERE,
    "What is told": _TOLD,
}
"""Those of `train`."""


FRAMES_FIRST = {
    "path": "A file (its suffix says what), or a folder.",
    "kind": "mp4, webm, gif, webp, html; or png, tiff, jpg.",
    "fast": "In seconds, and less sharp.",
    "frames": "How many frames.",
    "fps": "Frames shown in a second.",
    "compare": "Against the photo: wipe, side or flicker.",
    "direction": "Which way things moved: left, right, up, down.",
    "passes": "fast, good or best: two and four times as long.",
    "overwrite": "Replace what is there.",
    "skip_existing": "Leave out what is there: resume.",
    "quiet": "Errors only.",
}
"""The options of `extract` that its first screen shows, and what that says of them."""
SHARP_FIRST = {
    "path": "A file (its suffix says what), or a folder.",
    "kind": "png, tiff, jpg or webp-frames.",
    "fast": "In seconds, and less sharp.",
    "middle": "What deblurs; also a file of others' weights.",
    "passes": "fast, good or best: two and four times as long.",
    "device": "Where to run.",
    "overwrite": "Replace what is there.",
    "skip_existing": "Leave out what is there: resume.",
    "quiet": "Errors only.",
}
"""Those of `deblur`."""
WINDOWS_FIRST = {
    "output": "Folder to fill.",
    "frames": "Frames averaged; odd.",
    "stride": "From one window to the next.",
    "scale": "Downscaling.",
    "gamma": "Camera response.",
    "stills": "SRC are photos: simulate motion.",
    "count": "Windows of each photo.",
    "seed": "Of crops, noise and motion.",
    "jobs": "Threads.",
    "resume": "Go on with an interrupted run.",
}
"""Those of `synth`."""
SCORES_FIRST = {
    "fast": "Score the direct model.",
    "model": "motion, direct or cascade.",
    "weights_name": "Weight set.",
    "middle": "What gives the middle frame.",
    "protocol": "gopro7 or gopro1111: a column of Table 2.",
    "clip_scale": "Downscaling of clips.",
    "stride": "From one window of a clip to the next.",
    "device": "Where to run.",
    "as_json": "One JSON object on stdout.",
    "quiet": "No line for each window.",
}
"""Those of `eval`."""
TRAINING_FIRST = {
    "data": "Photos, windows or videos; repeatable.",
    "out": "Folder for checkpoint, log and weights.",
    "sheet": "Write a sheet of samples, train nothing.",
    "model": "direct, cascade or motion.",
    "minutes": "Time budget.",
    "max_steps": "Budget in steps.",
    "batch": "Samples of a step.",
    "crop": "Training crop [px].",
    "init": "Start from a weight set.",
    "resume": "Go on with the run in --out.",
    "device": "Where to run.",
}
"""Those of `train`."""


class SectionedCommand(click.Command):
    """A command with many options: a screen of those that most want, and all below headings.

    Args:
        sections: the headings in order, and the names of the parameters below each.
        first: the parameters of the first screen, and one line about each.
        more: what else the whole says: examples, one a line, and paragraphs.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[str]],
        first: Mapping[str, str],
        more: str = "",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.sections, self.first, self.more = sections, first, more
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options and exit.",
            )
        )

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.more and ctx.meta.get(ALL):
            examples, *paragraphs = self.more.strip().split("\n\n")
            formatter.write_paragraph()
            formatter.write(textwrap.indent(examples, " " * 4) + "\n")
            with formatter.indentation():
                for paragraph in paragraphs:
                    formatter.write_paragraph()
                    formatter.write_text(" ".join(paragraph.split()))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = {
            str(param.name): param
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        if not ctx.meta.get(ALL):
            rows = [(_short(found[name]), text) for name, text in self.first.items()]
            with formatter.section("Options"):
                formatter.write_dl([*rows, ("--help-all", f"Show all {len(found)} options.")])
            return
        for title, names in self.sections.items():
            below = [found[name] for name in names if name in found]
            records = [record for option in below if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _short(option: click.Option) -> str:
    """An option without its choices."""
    words = ", ".join(option.opts + option.secondary_opts)
    if option.is_flag:
        return words
    name = option.metavar
    return f"{words} {name if name and len(name) < 6 else option.opts[-1].strip('-').upper()}"


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
