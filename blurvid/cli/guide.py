"""`blurvid guide`: what there is to know, a page for each topic; `blurvid completion`."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

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


@click.command(short_help="Print what lets bash, zsh or fish complete words.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and files.

    \b
    Examples:
      echo 'eval "$(blurvid completion bash)"' >> ~/.bashrc
      echo 'eval "$(blurvid completion zsh)"' >> ~/.zshrc     after compinit
      blurvid completion fish > ~/.config/fish/completions/blurvid.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click's own
    click.echo(kind(ctx.find_root().command, {}, "blurvid", "_BLURVID_COMPLETE").source())
