"""`blurvid guide`: what there is to know, a page for each topic."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import click

GUIDES = Path(__file__).parents[1] / "guides"
"""One Markdown file for each topic: a title, and a line that says what it is about."""
TOPICS = sorted(path.stem for path in GUIDES.glob("*.md"))
WIDEST = 100
"""Most columns of a page; longer lines are hard to read."""


@click.command(short_help="List the guides, or read one.")
@click.argument("topic", required=False, type=click.Choice(TOPICS), metavar="[TOPIC]")
def guide(topic: str | None) -> None:
    """List the guides, or show the one on TOPIC.

    In a terminal it comes with headings and a pager; piped on, it is the Markdown itself.

    \b
    Examples:
      blurvid guide
      blurvid guide video
      blurvid guide formats > formats.md
    """
    if topic is None:
        wide = max(map(len, TOPICS))
        for name in TOPICS:
            click.echo(f"{name:<{wide}}  {_page(name).splitlines()[2]}")
    elif sys.stdout.isatty():
        click.echo_via_pager(_rendered(_page(topic)))
    else:
        click.echo(_page(topic), nl=False)


def _page(topic: str) -> str:
    return (GUIDES / f"{topic}.md").read_text(encoding="utf-8")


def _rendered(page: str) -> str:
    """A page with the colours, headings and tables of a terminal."""
    from rich.console import Console  # a third of the time of this command
    from rich.markdown import Markdown

    wide = min(WIDEST, shutil.get_terminal_size().columns)
    console = Console(file=io.StringIO(), force_terminal=True, width=wide)
    with console.capture() as capture:
        console.print(Markdown(page))
    return capture.get()
