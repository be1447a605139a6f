"""`blurvid` itself: where errors become messages and exit codes, and signals an end."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import threading
import traceback
import unicodedata
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from blurvid import errors

_BREAKING = frozenset(("Cc", "Zl", "Zp"))
"""Categories of characters that end a line or steer a terminal."""

EXISTING = {"--overwrite": "replaces it", "--skip-existing": "leaves it and goes on"}
"""What options do with an output that is there already."""
INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell counts it: 128 + SIGPIPE


def one_line(message: object) -> str:
    r"""Text that stays one line on any terminal, whatever files are called.

    A name may hold line breaks, or sequences that move the cursor; they are shown as `\n`.
    """
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in _BREAKING or _lone(letter) else letter
        for letter in str(message)
    )


def _lone(letter: str) -> bool:
    """Whether a letter is half of one, and does not stand for a byte of a file's name."""
    return "\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff"


def say(message: object) -> None:
    """Show one line on stderr.

    A log that cannot be written is no reason to stop; the exit code tells what matters.
    """
    try:
        click.echo(one_line(message), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        silence(sys.stderr)


def fail(error: object) -> None:
    """Show one error on stderr, with the options of this command that help."""
    hints = ""
    if isinstance(error, errors.ExistsError):
        root = click.get_current_context().find_root()
        assert isinstance(root.command, click.Group)
        known = _options(root.command.commands[str(root.invoked_subcommand)])
        hints = "".join(
            f"; {option} {does}" for option, does in EXISTING.items() if option in known
        )
    say(f"Error: {error}{hints}")


def _options(command: click.Command) -> set[str]:
    """All options of a command, or of those of a group."""
    if isinstance(command, click.Group):
        return set().union(*map(_options, command.commands.values()))
    return {option for param in command.params for option in param.opts}


def warn(message: object) -> None:
    """Show one warning on stderr."""
    say(f"Warning: {message}")


def silence(stream: Any) -> None:
    """Let a stream that cannot be written to any more lead nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def echo_json(record: dict[str, Any]) -> None:
    """Write one JSON object as a line on stdout."""
    click.echo(json.dumps(record))


class ErrorBoundary(click.Group):
    """The one place where a library error becomes a message and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        _open_streams()
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno == errno.EPIPE or not _of_stdout(error):
                raise
            silence(sys.stdout)
            fail(f"standard output: not written: {errors.reason(error)}")
            sys.exit(errors.OutputError.code)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except KeyboardInterrupt:
            _interrupted()

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _ending_politely():
                return self._invoke(ctx)
        except KeyboardInterrupt:
            _interrupted()

    def _invoke(self, ctx: click.Context) -> object:
        # Names of files need not be text in the terminal's encoding.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                utf8 = codecs.lookup(stream.encoding).name == "utf-8"
                stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # Python itself looks at it only after all is over
                sys.stdout.flush()
            return result
        except click.UsageError as error:
            settled = _settled(ctx, error.message)
            if type(error) is not click.UsageError or not settled:
                raise
            raise click.UsageError(error.message + settled, error.ctx) from None
        except errors.BlurvidError as error:
            fail(f"{error}{_settled(ctx, str(error))}" if error.code == 2 else error)
            ctx.exit(error.code)
        except BrokenPipeError:
            # The reader of our output has gone; nothing more can be said to it.
            for stream in (sys.stdout, sys.stderr):
                silence(stream)
            ctx.exit(BROKEN_PIPE)
        except Exception as error:
            if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
                # The system refuses a path before anything is done with it: a name too long, a
                # folder that may not be entered.
                fail(f"{os.fsdecode(error.filename)}: {errors.reason(error)}")
                ctx.exit(errors.InputError.code)
            if not _lacks_memory(error):
                raise
            fail("not enough memory")
            ctx.exit(errors.DeviceError.code)


def _settled(ctx: click.Context, message: str) -> str:
    """What to say of settings that an error is about, which nobody has typed."""
    own: dict[str, Any] = next(iter((ctx.default_map or {}).values()), {})
    if not own or not isinstance(ctx.command, click.Group):
        return ""
    command = ctx.command.commands[str(ctx.invoked_subcommand)]
    names = [max(p.opts, key=len) for p in command.params if p.name in own and p.opts]
    about = [name for name in names if re.search(rf"(?<!\S){re.escape(name)}(?![\w-])", message)]
    if not about:
        return ""
    from blurvid.cli.settings import path

    return f" ({path()} sets {', '.join(name[2:] for name in about)})"


def _interrupted() -> NoReturn:
    click.echo("Interrupted.", err=True)
    sys.exit(INTERRUPTED)


def _lacks_memory(error: Exception) -> bool:
    """Whether an error says so; where torch is not loaded, it needs none to be told."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from blurvid.runtime import lacks_memory

    return lacks_memory(error)


def _open_streams() -> None:
    """Let standard streams that are closed (`>&-`) lead nowhere.

    The next file to be opened would get the number of a closed one, and what a library writes
    to standard error would end in a result.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        else:
            continue
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


def _of_stdout(error: OSError) -> bool:
    """Whether an error came from writing results, and not from a file."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # fails again where something is still held back
    except OSError:
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    module = str(frame.f_globals.get("__name__"))
    return error.filename is None and module.partition(".")[0] in ("click", "rich")


@contextlib.contextmanager
def _ending_politely() -> Iterator[None]:
    """Let a polite kill, or the end of a terminal, end a block like Ctrl-C: nothing is left over.

    Afterwards such a signal ends the process as ever, while Python clears up.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _terminate)
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:  # not nohup
            before[hangup] = signal.signal(hangup, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _terminate(signum: int, frame: object) -> None:
    sys.exit(128 + signum)
