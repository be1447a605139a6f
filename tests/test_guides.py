"""What is written for people: the first page, the guides, the galleries; and that it holds."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers import invoke
from PIL import Image

import blurvid
from blurvid.cli import main
from blurvid.cli.guide import GUIDES, TOPICS, WIDEST, guide

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *(GUIDES / f"{topic}.md" for topic in TOPICS),
    *(ROOT / name / "README.md" for name in ("examples", "weights")),
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
SIDE = 96
"""Longest side of the photos that the page's commands are run on [px]; theirs is 640."""
STAND_INS = """
set -euo pipefail
pip() { :; }; pipx() { :; }; uvx() { :; }; pytest() { :; }
blurvid() { [ "$1" = app ] || "$PYTHON" -m blurvid "$@"; }
"""
"""Installed it is already, these are tests, and the app waits for a window; all else on the page
runs as written."""


def blocks(page, language):
    """Text of the fenced blocks of a language, in order."""
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(encoding="utf-8"), re.M | re.S
    )
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, text in found]


def prose(page):
    """Text of a page outside of its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def calls(page):
    """Words behind `blurvid` in each command of a page."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            starts = [place for place, word in enumerate(words) if word == "blurvid"]
            for start in starts:
                call = words[start + 1 :]
                ends = [place for place, word in enumerate(call) if word in ("|", ">", "&&", ";")]
                yield call[: min(ends, default=len(call))]


def options(command=main):
    """Every spelling of every option there is."""
    spelled = {word for parameter in command.params for word in parameter.opts}
    spelled |= {word for parameter in command.params for word in parameter.secondary_opts}
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        spelled |= options(below)
    return spelled


# the page that people see first


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(os.name != "posix", reason="the commands are a shell's")
def test_every_command_of_the_first_page_runs_in_order_in_one_folder(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for path in (tmp_path / "examples/photos").iterdir():
        with Image.open(path) as photo:
            photo.thumbnail((SIDE, SIDE))
            photo.save(path)
    script = STAND_INS + "\n".join(blocks(README, "sh"))
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "BLURVID_HOME": str(tmp_path / "home"),
    }
    environment.pop("BLURVID_WEIGHTS", None)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    named = [Path(line) for line in done.stdout.splitlines() if Path(tmp_path, line).is_file()]
    written = {path.suffix for path in named}
    assert {".mp4", ".html", ".png"} <= written
    assert all(Path(tmp_path, path).stat().st_size for path in named)


@pytest.mark.quick
def test_the_first_page_is_short_and_names_every_guide():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 220
    assert [topic for topic in TOPICS if f"guides/{topic}.md" not in text] == []


@pages
def test_what_a_page_points_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"", text)
    for target in filter(None, (word for pair in targets for word in pair)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", prose(path), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", t).lower().replace(" ", "-") for t in titles}


# commands and options that the pages tell of


@pytest.mark.parametrize("page", PAGES[:-1], ids=[page.name for page in PAGES[:-1]])
def test_commands_of_a_page_are_understood(page):
    for words in calls(page):
        command, name = main, "blurvid"
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            if words[0] not in command.commands:  # a photo
                words = [command.usual, *words]
            name, *words = words
            command = command.commands[name]
        command.make_context(name, words, parent=click.Context(main, **main.context_settings))


@pages
def test_options_that_a_page_tells_of_exist(page):
    spans = re.findall(r"`([^`]+)`", prose(page))
    told = {word for span in spans for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)}
    others = {"--cases", "--extra-index-url", "--help", "--kills", "--rdzv-id"}  # of other tools
    assert told - others <= options()


@pages
def test_python_of_a_page_uses_what_is_there(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
        for name in re.findall(r"\bblurvid\.(\w+)\(", block):
            assert name in blurvid.__all__
        for name in re.findall(r"(?<!\")\bclip\.(\w+)", block):
            assert hasattr(blurvid.Clip, name) or name in blurvid.Clip.__dataclass_fields__


# blurvid guide


@pytest.mark.quick
def test_guides_are_listed_with_a_line_each():
    result = invoke("guide")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == TOPICS
    assert {"direction-and-motion", "trust", "video", "batch", "python"} <= set(TOPICS)
    for line in lines:
        assert len(line) <= 80
        assert line.endswith(".")


@pytest.mark.quick
def test_a_guide_that_is_piped_on_is_its_markdown():
    result = invoke("guide", "video")
    assert result.stdout == (GUIDES / "video.md").read_text(encoding="utf-8")


@pytest.mark.quick
def test_a_guide_in_a_terminal_is_rendered_and_paged(monkeypatch):
    shown = []
    monkeypatch.setattr(click, "echo_via_pager", shown.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    guide.callback("formats")
    (text,) = shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b[" in text
    assert "## " not in plain and "What frames keep" in plain
    assert max(map(len, plain.splitlines())) <= WIDEST


def test_a_guide_that_is_not_there_is_told_with_those_that_are():
    result = invoke("guide", "nothing")
    assert result.exit_code == 2
    assert "'nothing' is not one of" in result.stderr and "'video'" in result.stderr


def test_guides_need_no_torch():
    run = (
        "import sys; from blurvid.cli import main; main(['guide', 'speed'], standalone_mode=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{run}; sys.exit('torch' in sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# Speed")
