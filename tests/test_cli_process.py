"""The command line as real processes: exit codes, signals, pipes, no half files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import everything, make_photo, save_tiny

from blurvid import media

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 300  # [s]; a busy machine takes long to import torch
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", moving=True).path


def make_photos(folder, count=1, size=(48, 32)):
    for number in range(count):
        make_photo(folder / f"photo {number}.png", size=size)
    return folder


class Tool:
    """Starts `python -m blurvid` in a folder."""

    def __init__(self, folder, tiny):
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "BLURVID_HOME": str(folder / "home"),
            "BLURVID_WEIGHTS": str(tiny),
        }

    def start(self, *words, **options):
        defaults = {
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "blurvid", *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            **defaults | options,
        )

    def run(self, *words, stdin=None):
        options = {} if stdin is None else {"stdin": subprocess.PIPE}
        process = self.start(*words, **options)
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        finally:
            process.kill()
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def tool(tmp_path, tiny):
    return Tool(tmp_path, tiny)


QUICK = ("--device", "cpu", "--threads", "1")


def test_help_is_instant_and_does_not_load_torch():
    script = (
        "import sys\n"
        "import blurvid, blurvid.cli\n"
        "from click.testing import CliRunner\n"
        "commands = blurvid.cli.main.commands\n"
        "for words in [[], *([name] for name in commands)]:\n"
        "    result = CliRunner().invoke(blurvid.cli.main, [*words, '--help'])\n"
        "    assert result.exit_code == 0, (words, result.output)\n"
        "heavy = {'torch', 'numpy', 'PIL', 'rich.console', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, timeout=PATIENCE
    )
    assert found.returncode == 0, found.stderr.decode()


WRITERS = 2


def begin_batch(tool, photos=60):
    """Start a batch that takes a while, in a process group of its own; wait for its first clip."""
    make_photos(tool.folder / "in", photos, (96, 64))

    def defaults():  # pytest may itself run where these are ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    process = tool.start(
        "extract", "in", "-o", "out", "--format", "mp4", "--jobs", WRITERS, *QUICK,
        preexec_fn=defaults, start_new_session=True,
    )  # fmt: skip
    first = process.stdout.readline()
    if not first:
        raise AssertionError(process.communicate()[1].decode())
    return process, first.decode().strip()


def end_batch(process):
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return out.decode(), err.decode()


def check_no_half_file(tool, first, out):
    named = sorted([first, *out.split("\n")[:-1]])
    found = sorted(f"out/{name}" for name in everything(tool.folder / "out"))
    # a signal may come after a thread has put a file in its place and before it can tell
    assert set(named) <= set(found)
    assert len(found) - len(named) <= WRITERS
    assert len(found) < 60
    assert not [name for name in found if not name.endswith(".mp4") or "/." in name]
    for name in (found[0], found[-1]):
        assert len(list(media.read_video(tool.folder / name))) >= 40


@posix
def test_a_polite_kill_in_a_batch(tool):  # (SIGINT, SIGHUP: tests/test_cli_extract.py)
    process, first = begin_batch(tool)
    process.send_signal(signal.SIGTERM)
    out, err = end_batch(process)
    assert process.returncode == 143
    assert "Traceback" not in err
    check_no_half_file(tool, first, out)


@posix
def test_streams_that_are_closed(tool):
    make_photos(tool.folder / "in", 2)
    words = ["extract", "in", "-", "-o", "out", "--format", "mp4", *QUICK]
    command = [sys.executable, "-m", "blurvid", *words]
    found = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *command],
        cwd=tool.folder, env=tool.environment, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert found.returncode == 3  # nothing was to be read from standard input
    assert everything(tool.folder / "out") == ["photo 0.mp4", "photo 1.mp4"]


@posix
def test_a_reader_that_goes_away(tool):
    make_photos(tool.folder / "in", 40)
    process = tool.start(
        "extract", "in", "-o", "out", "--format", "gif", "--json", *QUICK,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
    )  # fmt: skip
    first = json.loads(process.stdout.readline())
    assert first["outputs"] == ["out/photo 0.gif"]
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(PATIENCE) == 141
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    found = everything(tool.folder / "out")
    assert len(found) < 40
    assert all(name.endswith(".gif") and not name.startswith(".") for name in found)
