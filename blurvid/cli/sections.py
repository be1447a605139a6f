"""Help screens of commands with many options, under headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_MODEL = (
    *("fast", "model", "weights_name", "middle", "passes"),
    *("constraint", "scale", "motion", "still"),
)
_WHERE = (
    *("device", "precision", "threads", "max_memory"),
    *("engine", "address", "workers", "writers", "jobs"),
)
_TOLD = ("fail_fast", "as_json", "quiet", "verbose", "help")

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


class SectionedCommand(click.Command):
    """A command whose options stand below headings.

    Args:
        sections: the headings in order, and the names of the parameters below each.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = {
            str(param.name): param
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        for title, names in self.sections.items():
            below = [found[name] for name in names if name in found]
            records = [record for option in below if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
