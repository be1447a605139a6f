"""Help screens of commands with many options, under headings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

ALL = "blurvid.help_all"
"""Where a context keeps whether all options are to be shown."""


class SectionedCommand(click.Command):
    """A command with many options: a screen of those that most want, and all below headings.

    Args:
        sections: the headings in order, and the names of the parameters below each.
        first: the parameters of the first screen, which says the beginning of their help.
        more: what else the whole says: examples, one a line, and paragraphs.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Sequence[str]],
        first: Sequence[str],
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
            rows = [_short(found[name]) for name in self.first]
            with formatter.section("Options"):
                formatter.write_dl([*rows, ("--help-all", f"Show all {len(found)} options.")])
            return
        for title, names in self.sections.items():
            below = [found[name] for name in names if name in found]
            records = [record for option in below if (record := option.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _short(option: click.Option) -> tuple[str, str]:
    """An option without its choices, and the beginning of its help."""
    words = ", ".join(option.opts + option.secondary_opts)
    if not option.is_flag:
        name = option.metavar
        short = name if name and len(name) < 6 else option.opts[-1].strip("-").upper()
        words = f"{words} {short}"
    return words, re.split(r"[.;] ", (option.help or "") + " ")[0].rstrip(".") + "."


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
