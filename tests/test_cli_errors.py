"""What can go wrong, through the real command: one clear line, the right code, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import pytest
from helpers import everything, invoke, make_photo, save_tiny
from PIL import Image

from blurvid import cli
from blurvid.cli import boundary

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 300  # [s]; a busy machine takes long to import torch
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
QUICK = ("--device=cpu", "--threads=1", "--precision=fp32")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Weights of a small network whose frames differ."""
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", moving=True).path


@pytest.fixture
def run(here, tiny):
    """Run `blurvid extract`; whatever happens, no temporary file may stay."""

    def run(*words, stdin=None):
        usual = (one for one in QUICK if one.partition("=")[0] not in words)
        command = ["extract", *usual, "--weights", str(tiny), *map(str, words)]
        result = invoke(*command, stdin=stdin)
        assert not [name for name in everything(here) if ".blurvid" in name]
        return result

    return run


def errors(result):
    """Lines of errors, after a look that nothing on stderr steers the terminal."""
    for line in result.stderr.split("\n"):
        assert not [c for c in line if unicodedata.category(c) in ("Cc", "Zl", "Zp")]
    return [line for line in result.stderr.split("\n") if line.startswith("Error: ")]


# inputs


def bomb():
    """A PNG file of a few bytes that claims 30000 x 30000 pixels."""
    head = b"IHDR" + (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [head, b"IDAT" + zlib.compress(bytes(10_000)), b"IEND"]
    whole = [
        (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        for chunk in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


@pytest.mark.parametrize("way", ["alone", "among others"])
def test_inputs_that_are_no_photos(run, way):
    good = make_photo("good.png")
    bad = {
        "empty.jpg": (b"", "the file is empty"),
        "cut.jpg": (make_photo("whole.jpg").read_bytes()[:400], "is truncated"),
        "cut.png": (good.read_bytes()[:300], "is truncated"),
        "text.jpg": (b"hello", "is text, not an image"),
        "bomb.png": (bomb(), "30000 x 30000 pixels are more than 400 megapixels"),
        "no.tif": (bytes(range(256)), "is not an image"),
    }
    for name, (data, _) in bad.items():
        Path(name).write_bytes(data)
    Path("folder").mkdir()
    if way == "alone":
        for name, (_, problem) in bad.items():
            result = run(name, "-o", "out/clip.gif")
            assert (result.exit_code, result.stdout) == (3, "")
            (line,) = errors(result)
            assert line.startswith(f"Error: {name}: ")
            assert problem in line
        result = run("folder", "-o", "out")
        assert (result.exit_code, errors(result)) == (
            3,
            ["Error: folder: no photos in this folder"],
        )
        assert not Path("out").exists()
        return
    result = run(
        *bad, "folder", "nowhere.jpg", "good.png", "-o", "out", "--format", "gif", "--json"
    )
    assert result.exit_code == 3
    assert everything("out") == ["good.gif"]
    assert len(errors(result)) == len(bad) + 2
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert ["error" in record for record in records] == [True] * (len(bad) + 2) + [False]


@pytest.mark.skipif(sys.platform == "win32", reason="names cannot hold such characters there")
def test_a_name_with_a_line_break_and_an_escape(run):
    name = "a\nb\x1b[2J\x85\u2028.png"
    make_photo(f"in/{name}")
    Path("in/bad\n.png").write_text("text")
    result = run("in", "-o", "out", "--format", "gif", "-v")
    assert result.exit_code == 3
    assert errors(result) == [r"Error: in/bad\n.png: is text, not an image"]
    assert r"in/a\nb\x1b[2J\x85\u2028.png: 48x32" in result.stderr
    # a path on standard output is what it is
    assert result.stdout == f"out/{name[:-4]}.gif\n"
    record = run("in", "-o", "out2", "--json").stdout.splitlines()
    assert json.loads(record[0])["input"] == f"in/{name}"

    found = run("--files-from", "-", "-0", "-o", "out3", "--format", "gif", stdin=f"in/{name}\0")
    assert found.exit_code == 0
    assert everything("out3") == [f"in/{name[:-4]}.gif"]
    assert run("x\ny.png").stderr.count("\n") == 1


def test_a_list_of_photos(run):
    for name in ("a", "x/b", "x/y/c"):
        make_photo(f"{name}.png")
    Path("list").write_text("a.png\nx/y\n")
    result = run("x/b.png", "--files-from", "list", "-o", "out", "--format", "gif")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["out/b.gif", "out/a.gif", "out/x/y/c.gif"]
    piped = run("--files-from", "-", stdin="x/b.png\n")  # beside the photo
    assert (piped.exit_code, piped.stdout) == (0, "x/b.mp4\n")


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ((), 2, "Missing argument 'PHOTO...'"),
        (("-", "--files-from", "-"), 2, "standard input can be one thing only"),
        (("--files-from", "-"), 3, "-: this list names no photos"),
        (("--files-from", "nowhere"), 3, "nowhere: no such file or folder"),
        (("--files-from", "a.png"), 3, "a.png: no list of names"),
        (("in/*.jpg",), 3, "in/*.jpg: no such file or folder, and no photo that this pattern"),
        (("a.png", "--name", "{title}"), 2, "'{title}' is none: there are {stem}"),
        (("a.png", "--name", "../{stem}"), 2, "leads out of the output folder"),
        (("a.png", "b.png", "--name", "{model}"), 2, "the same name, direct"),
        (("a.png", "--shard", "3/2"), 2, "'3/2' is not I/N"),
        (("a.png", "--shard", "0/2"), 2, "'0/2' is not I/N"),
        (("a.png", "--shard", "2"), 2, "'2' is not I/N"),
        (("a.png", "--jobs", "-1"), 2, "-1 is not in the range"),
        (("a.png", "--jobs", "1" + 20 * "0"), 2, "writers must be from 0 to 1024"),
        (("a.png", "--threads", "1" + 20 * "0"), 2, "threads must be from 1 to 1024"),
    ],
)
def test_wrong_words(run, words, code, problem):
    make_photo("a.png")
    make_photo("b.png")
    result = run(*words, stdin="")
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = errors(result)
    assert problem in line
    assert everything(".") == ["a.png", "b.png"]


def test_shares_make_the_whole(run):
    for number in range(5):
        make_photo(f"in/{number}.png")
    assert run("in", "-o", "whole", "--name", "{index}_{stem}_{model}").exit_code == 0
    for number in (1, 2, 3):
        share = ("--shard", f"{number}/3", "--name", "{index}_{stem}_{model}")
        assert run("in/*.png", "-o", "shares", *share).exit_code == 0
    assert everything("shares") == everything("whole")
    nothing = run("in/0.png", "-o", "other", "--shard", "2/2")
    assert (nothing.exit_code, nothing.stdout, errors(nothing)) == (0, "", [])


# outputs


@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "dots"])
def test_an_output_that_is_the_input(run, way):
    photo = make_photo("in/a.gif")
    before = photo.read_bytes()
    target, source = Path("in/a.gif"), "in/a.gif"
    if way == "symlink":
        target = Path("link.gif")
        target.symlink_to(photo)
    elif way == "hard link":
        target = Path("hard.gif")
        os.link(photo, target)
    elif way == "dots":
        Path("other").mkdir()
        target = Path("other/../in/a.gif")
    result = run(source, "-o", target, "--overwrite")
    assert (result.exit_code, result.stdout) == (6, "")
    (line,) = errors(result)
    assert line == f"Error: in/a.gif: output {target} is the same file as an input"
    assert photo.read_bytes() == before


CHILD = """
import json, resource, sys
from click.testing import CliRunner
from blurvid.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (12000, 12000))
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, ["extract", "in", "-q", *words])
    print(json.dumps([result.exit_code, result.stdout, result.stderr, repr(result.exception)]))
"""


@posix
def test_a_disk_that_is_full(here, tiny):
    """A limit on the size of files fails in the same place, and needs no disk of its own."""
    make_photo("in/large.png", size=(160, 120))
    Image.new("RGB", (16, 16)).save("in/small.png")
    kinds = ["png", "tiff", "jpg", "webp-frames", "gif", "webp", "mp4"]
    ways = [["-o", f"out/{kind}", "--format", kind] for kind in kinds]
    command = [[*QUICK, "--weights", str(tiny), *way] for way in ways]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(command)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert child.returncode == 0, child.stderr.decode()
    for way, line in zip(ways, child.stdout.decode().splitlines(), strict=True):
        code, out, err, problem = json.loads(line)
        assert code == 6, (way, err, problem)
        assert "Error: out/" in err
        assert "not written: " in err
        assert len(err.splitlines()) == 1, err
        assert all(Path(name).is_file() for name in out.splitlines())
    # the small photo is done in spite of it, no half file stays
    for kind in kinds[:-1]:
        assert {Path(name).stem.partition("_")[0] for name in everything(f"out/{kind}")} == {
            "small"
        }
    assert not [name for name in everything(here) if ".blurvid" in name]


def process(tiny, *words, **options):
    return subprocess.run(
        [sys.executable, "-m", "blurvid", *words],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "BLURVID_WEIGHTS": str(tiny)},
        timeout=PATIENCE,
        check=False,
        **options,
    )


@full
def test_a_full_disk_behind_standard_output(here, tiny):
    for name in "abcdef":
        make_photo(f"in/{name}.png")
    piped = ["extract", "in/a.png", "-o", "-", "--format", "gif", *QUICK, "-q"]
    with Path("/dev/full").open("w") as sink:
        for words in (["extract", "in", "-o", "out", *QUICK, "--json", "-q"], piped, ["--help"]):
            found = process(tiny, *words, stdout=sink, stderr=subprocess.PIPE)
            assert found.returncode == 6
            assert found.stderr == b"Error: standard output: not written: the disk is full\n"
    assert everything("out")
    assert not [name for name in everything(here) if ".blurvid" in name]


@full
def test_a_full_disk_behind_standard_error(here, tiny):
    make_photo("in/a.png")
    Path("in/b.png").write_text("text")
    with Path("/dev/full").open("w") as sink:
        found = process(
            tiny, "extract", "in", "-o", "out", "--format", "gif", *QUICK,
            stdout=subprocess.PIPE, stderr=sink,
        )  # fmt: skip
    assert (found.returncode, found.stdout) == (3, b"out/a.gif\n")


@posix
@pytest.mark.parametrize(
    "words",
    [
        ["extract", "LONG", "-o", "x.mp4"],
        ["extract", "LONG/0.png", "-o", "x.mp4"],
        ["synth", "LONG", "-o", "x"],
        ["synth", "--stills", "LONG", "-o", "x"],
        ["synth", "in", "-o", "LONG"],
        ["eval", "LONG"],
        ["train", "--data", "LONG", "--out", "x"],
        ["train", "--data", "in", "--out", "LONG"],
        ["weights", "import", "LONG"],
        ["extract", "in", "-o", "LONG"],
        ["extract", "in", "-o", "LONG.mp4"],
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have(here, tiny, monkeypatch, words):
    monkeypatch.setenv("BLURVID_WEIGHTS", str(tiny))
    Path("in").mkdir()
    Image.new("RGB", (200, 200)).save("in/0.png")
    result = invoke(*(word.replace("LONG", "a" * 300) for word in words))
    assert result.exit_code in (2, 3, 4, 6), result.stderr
    *before, last = result.stderr.splitlines()
    assert last.startswith("Error: ")
    assert not before or result.exit_code in (2, 6)
    assert "too long" in last
    assert everything(here) == ["in/0.png"]


def test_a_path_that_the_system_refuses(here, monkeypatch):
    def refuse(path, **options):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    stat = Path.stat
    monkeypatch.setattr(Path, "stat", refuse)
    result = invoke("synth", "locked", "-o", "x")
    assert (result.exit_code, result.stderr) == (3, "Error: locked: permission denied\n")


def test_an_interrupt_before_the_command_begins(here, monkeypatch):
    def interrupted(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.main, "parse_args", interrupted)
    result = invoke("extract", "in")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_messages_are_one_line():
    assert boundary.one_line("a\tb\r\n\x07ü\u2029日 \udce9") == "a\\tb\\r\\n\\x07ü\\u2029日 \udce9"


# the short way in


def test_a_photo_without_a_command_is_extracted(here, tiny):
    make_photo("a b.png")
    make_photo("in/c.png", 1)
    words = ("--weights", str(tiny), *QUICK, "-q")
    for command in (("a b.png", *words), (*words, "-o", "out", "a b.png"), ("in", *words)):
        result = invoke(*command)
        assert result.exit_code == 0, result.stderr
    assert everything(".") == ["a b.mp4", "a b.png", "c.mp4", "in/c.png", "out/a b.mp4"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("extrct", "neither a command nor a file named 'extrct'; did you mean extract?"),
        ("xyz", "neither a command nor a file named 'xyz'; see blurvid --help"),
    ],
)
def test_a_word_that_is_neither_command_nor_file(here, word, told):
    result = invoke(word)
    assert result.exit_code == 2
    (line,) = errors(result)
    assert told in line


@pytest.mark.parametrize("words", [("-o", "a.mp4", "-o", "b.mp4"), ("--once", "--bounce")])
def test_an_option_given_twice_is_refused(here, words):
    told = words[0] if words[0] == "-o" else "--bounce/--once is given twice"
    make_photo("a.png")
    result = invoke("extract", "a.png", *words)
    assert result.exit_code == 2
    assert "is given twice" in result.stderr and told in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("extract in -o in --format png", 2, "in: results would be taken for photos"),
        ("deblur in -o ./in --middle direct", 2, "in: results would be taken for photos"),
        ("extract in/a.png -o a.gif --fps 60", 2, "--fps is 50 at most for GIF and WebP"),
        ("extract in/a.png -o a.mp4 --compare side --seconds 9", 2, "does not go with --compare"),
        ("synth in -o w --count 3", 2, "--count goes with --stills"),
    ],
)
def test_what_would_be_ignored_or_do_harm_is_refused(here, tiny, monkeypatch, words, code, told):
    monkeypatch.setenv("BLURVID_WEIGHTS", str(tiny))
    make_photo("in/a.png")
    result = invoke(*words.split())
    assert result.exit_code == code
    assert told in result.stderr
    assert everything(".") == ["in/a.png"]


def test_errors_about_settings_name_their_file(here, tiny, monkeypatch):
    monkeypatch.setenv("BLURVID_WEIGHTS", str(tiny))
    monkeypatch.setenv("BLURVID_CONFIG", "own.toml")
    make_photo("a.png")
    Path("own.toml").write_text('[extract]\nformat = "gif"\nfast = true\nfps = "keep"\n')
    found = invoke("extract", "a.png", "--fps", 5, "-o", "breakfast.mp4").stderr
    assert "--format gif contradict each other (own.toml sets format)" in found
    assert "(own.toml sets fps)" in invoke("extract", "a.png", "--frames", 7).stderr
    assert "own.toml" not in invoke("extract", "b.png", "--fps", 5, "--frames", 7).stderr


def test_what_may_be_given_again_or_is_a_plain_switch_is_not_refused(here, tiny):
    make_photo("a.png")
    words = ("--flow", "a.flo", "--flow", "b.flo", "-q", "-q", "--fast", "--fast")
    assert invoke("extract", "a.png", "--weights", tiny, *QUICK, *words).exit_code == 0


def test_a_second_run_is_told_what_helps(run):
    make_photo("a.png")
    assert run("a.png").exit_code == 0
    result = run("a.png")
    assert result.exit_code == 6
    (line,) = errors(result)
    assert "--overwrite replaces it" in line and "--skip-existing leaves it" in line


BEFOREHAND = """
import json, sys
from click.testing import CliRunner
from blurvid.cli import main
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, words)
    print(json.dumps([result.exit_code, result.stderr, "torch" in sys.modules]))
"""


def test_what_is_wrong_beforehand_is_told_before_torch_is_loaded(here):
    photo = str(make_photo("a.png"))
    Path("clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    (released := Path("set")).mkdir()
    commands = {
        ("gone.jpg",): 3,
        ("deblur", "gone.jpg"): 3,
        (photo, "-o", photo, "--format", "png"): 6,
        (photo, "-o", "clip.mp4"): 6,
        ("clip.mp4", "-o", "clip.mp4"): 6,
        (photo, "-o", "a.xyz"): 2,
        (photo, "--fps", "0"): 2,
        (photo, "--device", "abacus"): 2,
        (photo, "--flip", "a,b"): 2,
        (photo, "--still", "gone.png"): 3,
        (photo, "--compare", "wipe", "-o", "a.html"): 2,
        (photo, "--weights", str(released)): 4,
        (photo, "-o", "a.mp4", "-o", "b.mp4"): 2,
        ("eval", "gone"): 3,
        ("synth", "gone"): 3,
        ("train", "--data", "gone", "--out", "run"): 3,
        ("no such command",): 2,
    }
    child = subprocess.run(
        [sys.executable, "-c", BEFOREHAND, json.dumps(list(commands))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | {"BLURVID_HOME": "home"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    for line, (words, code) in zip(child.stdout.splitlines(), commands.items(), strict=True):
        assert json.loads(line)[::2] == [code, False], (words, line)
