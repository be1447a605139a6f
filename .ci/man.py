"""The man page, from what the commands say of themselves, put into the sdist when it is built.

`python .ci/man.py` prints it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = "blurvid.1"


def page() -> str:
    """The page of all commands, for `man`."""
    sys.path.insert(0, str(ROOT))
    import click

    from blurvid import __version__
    from blurvid.cli import main

    sys.path.pop(0)
    root = click.Context(main, info_name="blurvid")
    summary = (main.help or "").splitlines()[0].rstrip(".").lower()
    lines = [
        f'.TH BLURVID 1 "" "blurvid {__version__}" "User Commands"',
        ".SH NAME",
        f"blurvid \\- {_text(summary)}",
        ".SH SYNOPSIS",
        ".B blurvid",
        "COMMAND [OPTION]... [ARGUMENT]...",
        ".SH COMMANDS",
    ]
    for ctx in _contexts(root):
        lines += _command(ctx)
    lines += [
        ".SH EXIT STATUS",
        "0 done, 1 a bug or a diverged training run, 2 usage, 3 bad input, 4 weights, 5 device, "
        "6 output not written, 130 interrupted; with many photos that of the first failure.",
        ".SH ENVIRONMENT",
    ]
    for name, text in (
        ("BLURVID_WEIGHTS", "The weight set that is taken where none is named."),
        ("BLURVID_HOME", "The folder of the cache, in which weight sets are kept."),
        ("BLURVID_CONFIG", "The file of settings; see blurvid config."),
    ):
        lines += [".TP", f".B {name}", _text(text)]
    return "\n".join(lines) + "\n"


def _contexts(parent) -> Iterator:
    """Commands in the order of the help screen, each before those below it."""
    import click

    for name, command in parent.command.commands.items():
        ctx = click.Context(command, info_name=name, parent=parent)
        yield ctx
        if isinstance(command, click.Group):
            yield from _contexts(ctx)


def _command(ctx) -> Iterator[str]:
    """Section of one command."""
    import click

    yield f".SS {_text(ctx.command_path)} {_text(' '.join(ctx.command.collect_usage_pieces(ctx)))}"
    more = getattr(ctx.command, "more", "").strip()
    whole = f"{ctx.command.help}\n\n\b\n{more}" if more else ctx.command.help or ""
    for paragraph in whole.split("\n\n"):
        yield ".PP"
        _, mark, kept = paragraph.partition("\b\n")
        if mark:  # lines that are to stay as they are
            yield from (".nf", *map(_text, kept.splitlines()), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))
    for option in ctx.command.params:
        record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
        if record:
            yield from (".TP", f".B {_text(record[0])}", _text(" ".join(record[1].split())))


def _text(text: str) -> str:
    """Text that roff takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


if __name__ == "__main__":
    sys.stdout.write(page())
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class ManPage(BuildHookInterface):
        """Writes the page beside the tree, and adds it to the sdist."""

        def initialize(self, version: str, build_data: dict) -> None:
            """Make the page before the files are gathered."""
            import tempfile

            self.folder = tempfile.TemporaryDirectory()
            path = Path(self.folder.name) / FILE
            path.write_text(page(), encoding="utf-8")
            build_data["force_include"][str(path)] = FILE

        def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
            """Remove it again."""
            self.folder.cleanup()
