"""`blurvid config`: what is always wanted."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

import click

from blurvid.cli import settings
from blurvid.errors import OptionError


@click.group(
    invoke_without_command=True, short_help="Show or change options that are always wanted."
)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Show or change what is always wanted: options that commands take from a file.

    The file is TOML, with a table for each command and a key for each long option. The command
    line wins over BLURVID_WEIGHTS and RAY_ADDRESS, and these over the file.

    \b
    Examples:
      blurvid config                         the file, and what it holds
      blurvid config set extract.fps 12
      blurvid config unset extract.fps
    """
    if ctx.invoked_subcommand is not None:
        return
    click.echo(f"# {settings.path()}")
    for key, value in settings.entries(settings.read()):
        settings.checked(settings.option_of(key), value, key)
        click.echo(f"{key} = {_toml(value)}")


@config.command("set")
@click.argument("key")
@click.argument("values", nargs=-1, required=True, metavar="VALUE...")
def set_(key: str, values: tuple[str, ...]) -> None:
    """Let a command take VALUE for an option from now on; KEY is COMMAND.OPTION.

    Options that may be given again take several values. Flags take true or false.

    \b
    Examples:
      blurvid config set extract.quality best
      blurvid config set extract.bounce false
    """
    option = settings.option_of(key)
    settings.checked(option, list(values), key)
    found = [_typed(value, option) for value in values]
    _change(key, found if option.multiple else found[0])


@config.command()
@click.argument("key")
def unset(key: str) -> None:
    """Leave the option KEY to its default again.

    \b
    Example:
      blurvid config unset extract.quality
    """
    _change(key, None)


@config.command("path")
def path_() -> None:
    """Print where the file is, or would be.

    \b
    Example:
      blurvid config path
    """
    click.echo(settings.path())


def _typed(word: str, option: click.Option) -> str | bool | int | float:
    """A word of the command line as TOML would have it; the same word comes of it again."""
    if option.is_flag:
        return bool(option.type.convert(word, option, None))
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if str(kind(word)) == word:
                return kind(word)
    return word


def _toml(value: Any) -> str:
    import tomlkit

    return str(tomlkit.item(value).as_string())


def _change(key: str, value: Any) -> None:
    """Put a value into the file, whose comments stay, or take it out where it is None."""
    import tomlkit

    settings.read()  # refuses what is no TOML
    file = settings.path()
    document = tomlkit.parse(file.read_text(encoding="utf-8") if file.exists() else "")
    *tables, name = key.split(".")
    table: Any = document
    for part in tables:
        table = table.setdefault(part, {}) if isinstance(table, MutableMapping) else {}
    if value is None and name not in table:
        raise OptionError(f"{file}: {key} is not set")
    if value is None:
        del table[name]
    else:
        table[name] = value
    from blurvid.atomic import replacing  # whose packages the man page does without

    with replacing([file]) as (fresh,):
        fresh.write_text(tomlkit.dumps(document), encoding="utf-8")
