"""Help screens of commands with many options, under headings."""

from __future__ import annotations

import click

SECTIONS = {
    "Sources": ("lists", "null", "share"),
    "Results": (
        *("output", "kind", "name", "frames", "beyond", "montage", "flows", "trusts"),
        *("overwrite", "skip_existing"),
    ),
    "Clips": ("fps", "bounce", "seconds", "crf", "audio"),
    "Order of time": ("direction", "flips", "reverse"),
    "Model": (
        *("model", "weights_name", "middle", "quality"),
        *("constraint", "statistics", "scale"),
    ),
    "Where it runs": (
        *("device", "precision", "threads", "max_memory", "compile"),
        *("engine", "address", "workers", "writers"),
    ),
    "What is told": ("fail_fast", "as_json", "quiet", "verbose"),
}
"""Headings, in order, and the parameters below each."""


class SectionedCommand(click.Command):
    """A command whose options stand below the headings of `SECTIONS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        left = {str(option.name): option for option in options}
        last = list(SECTIONS)[-1]
        for title, names in SECTIONS.items():
            below = [left.pop(name) for name in names if name in left]
            if title == last:  # --help, which click adds
                below += left.values()
            records = [record for option in below if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
