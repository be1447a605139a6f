"""Help screens of commands with many options, under headings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click
from click.core import ParameterSource

Command = TypeVar("Command", bound=Callable[..., Any])
_SHOWN = {"show_default": True}
TOLD = "What is told"
"""Heading of options that have none of their own."""


class Headed(click.Option):
    """An option below a heading of the long help."""

    def __init__(self, *args: Any, heading: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heading = heading


def below(heading: str, *kinds: type[Any]) -> Callable[..., Callable[[Command], Command]]:
    """What declares options below a heading, called as `click.option`.

    Args:
        heading: of the long help.
        kinds: dataclasses; an option that is called as a field of theirs has its type and default,
            as far as it says nothing else.
    """
    known = {
        field.name: _about(get_type_hints(kind)[field.name], field.default)
        for kind in kinds
        for field in fields(kind)
    }

    def option(*names: str, **about: Any) -> Callable[[Command], Command]:
        name = names[-1].partition("/")[0].lstrip("-").replace("-", "_")
        return click.option(*names, cls=Headed, heading=heading, **known.get(name, {}) | about)

    return option


def _about(hint: Any, default: Any) -> dict[str, Any]:
    """Type and default of a field, as click wants them."""
    if type(None) in get_args(hint):
        hint = get_args(hint)[0]
    if hint is bool:
        return {"is_flag": True, "default": default, "show_default": default}
    found: dict[str, Any] = {"type": hint} if hint in (int, float) else {}
    if get_origin(hint) is Literal:
        found["type"] = click.Choice(get_args(hint))
    return found if default in (None, MISSING) else {**found, "default": default, **_SHOWN}


class SectionedCommand(click.Command):
    """A command with many options: a screen of those that most want, and all below headings.

    Args:
        first: names of the parameters of the first screen, which says the beginning of their help.
        more: what else the whole says: examples, one a line, and paragraphs.
    """

    def __init__(self, *args: Any, first: str, more: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.first, self.more = first.split(), more
        click.help_option("--help-all", help="Show all options and exit.")(self)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.more and _all_wanted(ctx):
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
        if not _all_wanted(ctx):
            rows = [_short(found[name]) for name in self.first]
            with formatter.section("Options"):
                formatter.write_dl([*rows, ("--help-all", f"Show all {len(found)} options.")])
            return
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in found.values():
            if record := option.get_help_record(ctx):
                sections.setdefault(getattr(option, "heading", TOLD), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _short(option: click.Option) -> tuple[str, str]:
    """An option, the beginning of its help, and its choices where that does not tell most."""
    words = ", ".join(option.opts + option.secondary_opts)
    if not option.is_flag:
        name = option.metavar
        short = name if name and len(name) < 6 else option.opts[-1].strip("-").upper()
        words = f"{words} {short}"
    text = re.split(r"[.;] ", (option.help or "") + " ")[0].rstrip(".")
    choices = list(option.type.choices) if isinstance(option.type, click.Choice) else []
    if 2 * len(set(choices) & set(re.findall(r"[\w-]+", text))) < len(choices):
        text += f" ({', '.join(choices)})"
    return words, f"{text}."


def _all_wanted(ctx: click.Context) -> bool:
    return ctx.get_parameter_source("help_all") is ParameterSource.COMMANDLINE
