"""Settings in a file, and completion of words, through the shells that do it."""

import os
import re
import select
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import platformdirs
import pytest
from helpers import invoke

from blurvid.cli import main, settings
from blurvid.config import QUALITIES
from blurvid.errors import OptionError

ROOT = Path(__file__).parents[1]
PATIENCE = 60
"""How long a shell may say nothing [s]."""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where settings are kept; its folder is not there yet."""
    path = tmp_path / "config" / "settings.toml"
    monkeypatch.setenv("BLURVID_CONFIG", str(path))
    for variable in settings.ENVIRONMENT.values():
        monkeypatch.delenv(variable, raising=False)
    return path


def write(file, text):
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")


def taken(*words):
    """What a command would be run with."""
    context = click.Context(main, info_name="blurvid")
    with context:
        name, command, rest = main.resolve_command(context, list(words))
    return command.make_context(name, rest, parent=context).params


@pytest.mark.quick
def test_what_is_set_is_taken_shown_and_unset(file):
    assert invoke("config").stdout == f"# {file}\n"
    assert invoke("config", "set", "extract.fps", 12).exit_code == 0
    assert invoke("config", "set", "extract.quality", "best").exit_code == 0
    assert invoke("config", "set", "extract.bounce", "no").exit_code == 0
    assert invoke("config", "set", "extract.trust", "a.npy", "b.png").exit_code == 0
    assert tomllib.loads(file.read_text()) == {
        "extract": {"fps": 12, "quality": "best", "bounce": False, "trust": ["a.npy", "b.png"]}
    }
    shown = invoke("config").stdout.splitlines()
    assert shown[0] == f"# {file}"
    assert tomllib.loads("\n".join(shown)) == tomllib.loads(file.read_text())
    assert invoke("config", "path").stdout == f"{file}\n"

    found = taken("extract", "photo.jpg")
    assert (found["fps"], found["passes"]) == (12.0, QUALITIES["best"])
    assert found["bounce"] is False
    assert found["trusts"] == (Path("a.npy"), Path("b.png"))
    assert taken("deblur", "photo.jpg")["passes"] != QUALITIES["best"]  # another command

    assert invoke("config", "unset", "extract.fps").exit_code == 0
    assert "fps" not in invoke("config").stdout
    again = invoke("config", "unset", "extract.fps")
    assert (again.exit_code, again.stderr) == (2, f"Error: {file}: extract.fps is not set\n")


def test_the_command_line_wins_over_the_file(file):
    write(file, '[extract]\nfps = 12\nformat = "gif"\n')
    found = taken("extract", "photo.jpg", "--fps", "5")
    assert (found["fps"], found["kind"]) == (5.0, "gif")


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(file, monkeypatch):
    write(file, '[extract]\nweights = "mine"\n')
    assert taken("extract", "photo.jpg")["weights_name"] == "mine"
    monkeypatch.setenv("BLURVID_WEIGHTS", "theirs")
    assert taken("extract", "photo.jpg")["weights_name"] is None  # left to the variable
    assert taken("extract", "photo.jpg", "--weights", "this")["weights_name"] == "this"


@pytest.mark.parametrize(
    ("words", "model", "fast", "weights"),
    [
        ([], "cascade", False, "mine"),
        (["--fast"], "auto", True, None),
        (["--model=direct"], "direct", False, None),
        (["--weights", "this"], "auto", False, "this"),
    ],
)
def test_what_settles_the_same_hides_the_file(file, words, model, fast, weights):
    write(file, '[extract]\nmodel = "cascade"\nweights = "mine"\n')
    found = taken("extract", "photo.jpg", *words)
    assert (found["model"], found["fast"], found["weights_name"]) == (model, fast, weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[extract]\nfsp = 1\n", "extract.fsp: there is no option extract.fsp; did you mean "
         "extract.fps?"),
        ("[extrct]\nfps = 1\n", "extrct.fps: there is no command extrct; did you mean extract?"),
        ("[weights]\nlist = 1\n", "weights.list: there is no option weights.list"),
        ("fps = 1\n", "fps: there is no option fps"),
        ("[config]\nset = 1\n", "config.set: there is no command config"),
        ('[doctor]\njson = "some"\n', "doctor.json: 'some' is not a valid boolean"),
        ("[doctor]\njson = [true, true]\n", "doctor.json: one value is wanted, not 2"),
        ("[doctor\n", "no valid TOML: "),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_one_line_with_file_and_key(file, text, message):
    write(file, text)
    result = invoke("doctor")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {file}: {message}")
    assert result.stderr.count("\n") == 1
    assert invoke("config").exit_code == 2  # which looks at all of it
    assert invoke("config", "path").stdout == f"{file}\n"  # there to be put right


def test_a_bad_value_of_one_command_leaves_the_others_alone(file):
    write(file, "[extract]\nfps = true\n")
    assert invoke("weights", "path").exit_code == 0
    result = invoke("extract", "photo.jpg")
    assert result.exit_code == 2
    assert f"{file}: extract.fps: 'True' is not a number" in result.stderr


@pytest.mark.parametrize("value", ["abc", "12 fps"])
def test_what_the_option_refuses_is_not_written(file, value):
    result = invoke("config", "set", "extract.fps", value)
    assert result.exit_code == 2
    assert f"{file}: extract.fps: '{value}' is not a number" in result.stderr
    assert not file.exists()


def test_comments_stay_when_a_value_changes(file):
    write(file, "# mine\n[extract]\nfps = 5  # slow\nquality = 'best'\n")
    invoke("config", "set", "extract.fps", "24.5")
    assert file.read_text() == "# mine\n[extract]\nfps = 24.5  # slow\nquality = 'best'\n"


def test_words_that_look_like_numbers_stay_what_they_are(file):
    for word in ("007", "1e3", "12", "2024-01-01"):
        invoke("config", "set", "extract.weights", word)
        assert taken("extract", "photo.jpg")["weights_name"] == word


def test_a_command_of_a_group_has_a_table_of_its_own(file):
    invoke("config", "set", "weights.list.json", "true")
    assert file.read_text() == "[weights.list]\njson = true\n"
    assert invoke("weights", "list").stdout.startswith("{")


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(file):
    file.parent.mkdir(mode=0o500)
    result = invoke("config", "set", "extract.fps", 12)
    assert (result.exit_code, result.stderr.count("\n")) == (6, 1)


# completion


@pytest.fixture
def terminal(tmp_path):
    """A PATH on which `blurvid` is this one."""
    tool = tmp_path / "bin" / "blurvid"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m blurvid "$@"\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}


posix = pytest.mark.skipif(os.name != "posix", reason="needs a terminal as POSIX has it")


def shell(name):
    there = os.name == "posix" and shutil.which(name) is not None
    return pytest.mark.skipif(not there, reason=f"needs {name}")


def typed(words, setting_up, keys, environment, until):
    """What an interactive shell shows while keys are typed, until something is seen."""
    import pty  # on no Windows
    import termios

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    termios.tcsetwinsize(ours, (40, 120))
    shown = ""
    try:
        for text, awaited in ((f"{setting_up}; echo set''up\n", "setup\r\n"), (keys, until)):
            os.write(ours, text.encode())
            while not re.search(awaited, shown):
                ready, _, _ = select.select([ours], [], [], PATIENCE)
                assert ready, f"{awaited!r} not in {shown!r}"
                shown += os.read(ours, 1024).decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown


@shell("bash")
@pytest.mark.skipif(sys.platform == "darwin", reason="the bash of macOS is older than 4.4")
def test_bash_completes_commands_and_options(terminal):
    script = 'eval "$(blurvid completion bash)"'
    words = ["bash", "--norc", "--noprofile", "-i"]
    typed(words, script, "blurvid extr\t --contac\t", terminal, "extract +--contact ")
    typed(words, script, "blurvid extract --quality \tb\t", terminal, "--quality +\x07?best ")


@shell("zsh")
def test_zsh_completes_commands_and_options(terminal):
    script = 'autoload -U compinit; compinit -u; eval "$(blurvid completion zsh)"'
    typed(["zsh", "-f", "-i"], script, "blurvid extr\t", terminal, "extract ")
    typed(["zsh", "-f", "-i"], script, "blurvid extract --contac\t", terminal, "--contact ")


@shell("fish")
def test_fish_completes_commands_and_options(terminal, tmp_path):
    folder = tmp_path / ".config" / "fish" / "completions"
    folder.mkdir(parents=True)
    script = invoke("completion", "fish").stdout
    (folder / "blurvid.fish").write_text(script)
    for line, answer in (("blurvid extr", "extract"), ("blurvid extract --contac", "--contact")):
        done = subprocess.run(
            ["fish", "-c", f"complete -C '{line}'"],
            env=terminal, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert answer in done.stdout.split()


@posix
def test_words_are_completed_whatever_the_file_holds(terminal, tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[")
    told = terminal | {
        "BLURVID_CONFIG": str(broken),
        "_BLURVID_COMPLETE": "bash_complete",
        "COMP_WORDS": "blurvid extract --qual",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(["blurvid"], env=told, capture_output=True, text=True, check=True)
    assert done.stdout == "plain,--quality\n"


def test_whoever_has_no_home_has_settled_nothing(monkeypatch):
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    monkeypatch.setattr(platformdirs, "user_config_path", _no_home)
    assert settings.read() == {}
    with pytest.raises(OptionError, match="no home directory is known"):
        settings.path()


def _no_home(*_, **__):
    raise RuntimeError("Could not determine home directory.")
