"""`blurvid completion`: what lets a shell complete words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


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
