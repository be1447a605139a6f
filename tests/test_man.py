"""The man page: all commands and options, and nothing that roff stumbles over."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from blurvid.cli import main

SCRIPT = Path(__file__).parents[1] / ".ci" / "man.py"


@pytest.fixture(scope="module")
def page():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    return done.stdout


def test_every_command_and_option_is_in_it(page):
    sections = page.split("\n.SS ")[1:]
    found = {section.partition(" [")[0].partition(" {")[0]: section for section in sections}

    def check(command, words):
        section = found[words].replace("\\-", "-")
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[-1] in section, (words, option.opts)
        for name, below in getattr(command, "commands", {}).items():
            check(below, f"{words} {name}")

    for name, command in main.commands.items():
        check(command, f"blurvid {name}")


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_roff_takes_all_of_it(page):
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8"], input=page, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "blurvid extract photo.jpg -o clip.mp4 --frames 25 --fps 30\n" in done.stdout
    assert "\b" not in page
