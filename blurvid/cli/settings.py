"""What one always wants: a TOML file with the values of options, a table for each command."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from blurvid.cli.boundary import ErrorBoundary
from blurvid.errors import OptionError

NAME = "config.toml"
VARIABLE = "BLURVID_CONFIG"
"""Names another file."""
ENVIRONMENT = {"weights": "BLURVID_WEIGHTS", "address": "RAY_ADDRESS"}
"""Options that a variable names, too, which wins over the file."""
RIVALS = (
    {"model", "fast", "weights"},
    {"frames", "beyond"},
    {"overwrite", "skip-existing"},
    {"quiet", "verbose"},
)
"""Options that settle one thing: one that is given hides the others of the file."""
UNSET = ("config", "completion")
"""Commands without settings, which work whatever the file holds."""

Settings = Mapping[str, Any]
"""Tables of commands by name; in one, values by long option without dashes."""


class SettledGroup(ErrorBoundary):
    """A group whose commands take from the user's file what the command line leaves open.

    Photos, and options that it does not know itself, are for its usual command.
    """

    usual = "extract"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {option for param in self.get_params(ctx) for option in param.opts}
        if args and args[0] not in own | self.commands.keys() and (
            args[0].startswith("-") or _is_source(args[0])
        ):  # fmt: skip
            args = [self.usual, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options, or else files."""
        found = super().shell_complete(ctx, incomplete)
        return found or [CompletionItem(incomplete, type="file")]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self.commands, 1)
            hint = f"; did you mean {near[0]}?" if near else "; see blurvid --help"
            raise OptionError(f"there is neither a command nor a file named {args[0]!r}{hint}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:  # as when words are completed
            refuse_twice(command, ctx, rest)
            if name is not None and name not in UNSET:
                ctx.default_map = {name: defaults(name, given(rest))}
        return name, command, rest


def _is_source(word: str) -> bool:
    """Whether a word that is no command names photos: it is there, or looks like a path."""
    return os.path.lexists(word) or bool({".", "/", os.sep, *"*?["} & set(word))


def refuse_twice(command: click.Command, ctx: click.Context, words: Sequence[str]) -> None:
    """Refuse an output or a switch that is given twice, of which only the last would count.

    Of other options the last one counts, as shells' aliases need it.

    Raises:
        OptionError: there is one.
    """
    if isinstance(command, click.Group):
        return
    with click.Context(command, parent=ctx, info_name=command.name) as inner:
        *_, order = command.make_parser(inner).parse_args(list(words))
    for param in dict.fromkeys(order):
        if not isinstance(param, click.Option) or param.multiple or order.count(param) < 2:
            continue
        if "-o" in param.opts or param.secondary_opts:
            names = "/".join((*param.opts, *param.secondary_opts))
            raise OptionError(f"{names} is given twice; one of them is enough")


def path() -> Path:
    """The file: `BLURVID_CONFIG`, or else where the system keeps what users settle.

    Raises:
        OptionError: no home directory is known.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    try:
        return platformdirs.user_config_path("blurvid", appauthor=False) / NAME
    except RuntimeError:
        raise OptionError(f"no home directory is known; {VARIABLE} can name a file") from None


def read() -> dict[str, Any]:
    """Everything that the file holds; nothing where there is none, or no place for one.

    Raises:
        OptionError: it cannot be read, or is no TOML.
    """
    try:
        file = path()
    except OptionError:  # whoever has no home has settled nothing
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OptionError(f"{file}: {(error.strerror or str(error)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{file}: no valid TOML: {error}") from None


def given(words: Sequence[str]) -> set[str]:
    """Options that are settled already: on the command line, or by a variable."""
    named = {word.partition("=")[0].removeprefix("--") for word in words if word[:2] == "--"}
    return named | {option for option, name in ENVIRONMENT.items() if os.environ.get(name)}


def defaults(name: str, taken: set[str]) -> dict[str, Any]:
    """What the file says for a command, as click's `default_map`.

    Args:
        name: the command, or a group of them, as the table is named.
        taken: options that are settled already.

    Raises:
        OptionError: a table or option that is not known anywhere in the file, or a bad value
            for this command.
    """
    hidden = taken.union(*(rivals for rivals in RIVALS if rivals & taken))
    found: dict[str, Any] = {}
    for key, value in entries(read()):
        option = option_of(key)
        command, *groups, last = key.split(".")
        if command != name:
            continue
        words = checked(option, value, key)
        table = found
        for group in groups:
            table = table.setdefault(group, {})
        if last not in hidden:
            table[str(option.name)] = words
    return found


def entries(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys such as `extract.fps`, and their values, in the order of the file."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from entries(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def option_of(key: str) -> click.Option:
    """The option that a key such as `extract.fps` stands for.

    Raises:
        OptionError: there is none.
    """
    *names, last = key.split(".")
    command: click.Command = click.get_current_context().find_root().command
    for place, name in enumerate(names):
        known = command.commands if isinstance(command, click.Group) else {}
        if name not in known or name in UNSET:
            raise _unknown(key, ".".join(names[: place + 1]), "command", sorted(known))
        command = known[name]
    options = {
        word.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option) and not option.is_eager
        for word in option.opts
        if word[:2] == "--"
    }
    if isinstance(command, click.Group) or last not in options:
        raise _unknown(key, key, "option", [".".join([*names, name]) for name in options])
    return options[last]


def _unknown(key: str, wrong: str, what: str, known: Sequence[str]) -> OptionError:
    near = difflib.get_close_matches(wrong, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return OptionError(f"{path()}: {key}: there is no {what} {wrong}{hint}")


def checked(option: click.Option, value: Any, key: str) -> Any:
    """A value in the words of the command line, which the option itself has looked at.

    Raises:
        OptionError: the option does not take it.
    """
    many = value if isinstance(value, list) else [value]
    if len(many) != 1 and not option.multiple:
        raise OptionError(f"{path()}: {key}: one value is wanted, not {len(many)}")
    words = [str(one) for one in many]
    told: Any = words if option.multiple else words[0]
    with click.Context(click.Command(key), resilient_parsing=True) as ctx:
        try:
            value = option.type_cast_value(ctx, told)
            if option.callback is not None:
                option.callback(ctx, option, value)
        except click.BadParameter as error:
            raise OptionError(f"{path()}: {key}: {error.message}") from None
    return told
