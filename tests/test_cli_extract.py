"""`blurvid extract`, tried as a new user would."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import everything, invoke, make_photo, save_tiny
from PIL import Image

from blurvid import media, pipeline
from blurvid.cli import main
from blurvid.errors import DeviceError

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("here")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Untrained weights: every frame is the photo."""
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", score=26.5).path


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Weights whose frames differ."""
    return save_tiny(tmp_path_factory.mktemp("weights") / "moving", moving=True).path


@pytest.fixture
def run(tiny):
    """Run `blurvid extract` on the tiny weights, on one CPU thread."""

    def run(*words, stdin=None, weights_set=tiny):
        usual = ("--threads=1", "--precision=fp32", "--device=cpu")
        command = ["extract", *(one for one in usual if one.partition("=")[0] not in words)]
        if weights_set is not None:
            command += ["--weights", str(weights_set)]
        command += map(str, words)
        result = invoke(*command, stdin=stdin)
        assert "Traceback" not in result.stderr
        return result

    return run


def read(path):
    """Pixels of an image."""
    with Image.open(path) as image:
        return np.asarray(image)


def lines(text):
    return [line for line in text.splitlines() if line]


# the main job


def test_a_photo_becomes_a_video(run, tmp_path):
    result = run(make_photo("photo.png"), "-o", tmp_path / "clip.mp4")

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'clip.mp4'}\n"
    # Untrained weights give back the photo, which is no secret.
    assert result.stderr == ("photo.png: no visible gain: nothing moves in it\n")
    info = media.video_info(tmp_path / "clip.mp4")
    assert info.size == (32, 48)
    assert info.timing.count >= 40  # long enough to watch: 4 s at 10 frames a second


def test_without_an_output_a_video_appears_here(run):
    result = run(make_photo("deep/er/photo.jpg"))
    assert result.exit_code == 0
    assert result.stdout == "photo.mp4\n"
    assert Path("photo.mp4").is_file()


def test_png_files_in_a_folder(run):
    photo = make_photo("my photo é.png")
    result = run(photo, "-o", "frames", "--format", "png")
    expected = [f"frames/my photo é_{i}.png" for i in range(1, 8)]
    assert lines(result.stdout) == expected
    for path in expected:
        assert np.array_equal(read(path), read(photo))


def test_gif_and_clip_options(run, moving):
    options = ("--fps", 20, "--once")
    result = run(make_photo("a.png"), "-o", "a.gif", *options, weights_set=moving)
    assert result.exit_code == 0
    with Image.open("a.gif") as image:
        assert image.n_frames == 7
        assert image.info["duration"] == 50


@pytest.mark.parametrize("options", [("--fps", 0), ("--crf", 99), ("--seconds", -1)])
def test_clip_options_out_of_range(run, options):
    result = run(make_photo("a.png"), "-o", "a.mp4", *options)
    assert result.exit_code == 2
    assert len(lines(result.stderr)) == 1
    assert everything(".") == ["a.png"]


@pytest.mark.parametrize(
    "options",
    [("-o", "a.gif"), ("-o", "out", "--format", "png"), ("-o", "x", "--format", "html")],
)
def test_what_no_other_clip_has_is_refused(run, options):
    for name in ("--seconds", "--crf"):
        result = run(make_photo("a.png"), *options, name, 8)
        assert result.exit_code == 2
        assert f"{name} is for MP4 and WebM" in result.stderr
    assert everything(".") == ["a.png"]


def test_clips_in_a_folder_have_a_quality(run):
    assert run(make_photo("a.png"), "-o", "out/", "--crf", 40).exit_code == 0
    assert everything(".") == ["a.png", "out/a.mp4"]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (20, 20), (333, 217)])
def test_output_size_is_input_size(run, size):
    run(make_photo("photo.png", size=size), "-o", "out", "--format", "png")
    assert read("out/photo_4.png").shape == (size[1], size[0], 3)


def test_exif_rotation_is_applied(run):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    exif[0x010F] = "maker"
    photo = make_photo("turned.png", size=(48, 32), exif=exif)

    run(photo, "-o", "out", "--format", "png")
    run(photo, "-o", "out.mp4")

    with Image.open("out/turned_1.png") as frame:
        assert frame.size == (32, 48)
        assert frame.getexif()[0x0112] == 1
        assert frame.getexif()[0x010F] == "maker"
        assert np.array_equal(np.asarray(frame), np.rot90(read(photo), -1))
    assert media.video_info(Path("out.mp4")).size == (48, 32)


def test_warnings_go_to_stderr_unless_quiet(run):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    result = run("moving.gif", "-o", "out")
    assert result.exit_code == 0
    assert "Warning: moving.gif: holds several frames" in result.stderr
    assert "Warning" not in result.stdout
    assert run("moving.gif", "-o", "out2", "-q").stderr == ""


def test_verbose_says_what_is_used(run):
    result = run(make_photo("a.png"), "-o", "out", "--format", "png", "-v")
    assert "Model direct (weights tiny, 26.50 dB)" in result.stderr
    assert "48x32" in result.stderr
    assert "cpu in float32" in result.stderr
    assert len(lines(result.stdout)) == 7


def test_auto_says_which_model_it_took(run, tiny, tmp_path):
    (tmp_path / "home/weights").mkdir(parents=True)
    (tmp_path / "home/weights/direct").symlink_to(tiny)
    result = run(make_photo("a.png"), "-o", "a.gif", "-v", weights_set=None)
    assert result.exit_code == 0
    assert "Model direct" in result.stderr
    assert result.stdout == "a.gif\n"
    assert run("a.png", "-o", "b.gif", "-q", weights_set=None).stderr == ""


def test_standard_input(run):
    data = make_photo("photo.jpg").read_bytes()
    result = run("-", "-o", "out.gif", stdin=data)
    assert result.exit_code == 0
    assert result.stdout == "out.gif\n"
    assert run("-", stdin=data).stdout == "stdin.mp4\n"
    assert run("-", "-o", "out", "--format", "png", "-q", stdin=data).exit_code == 0
    assert Path("out/stdin_7.png").is_file()


def test_nothing_on_standard_input(run):
    result = run("-", "-o", "out.gif", stdin=b"")
    assert result.exit_code == 3
    assert lines(result.stderr) == ["Error: -: the file is empty"]


def test_a_name_that_is_not_utf8(run):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        make_photo("a.png").rename(name)
    except OSError:
        pytest.skip("this file system wants UTF-8")
    plain = run(name, "-o", "out.gif", "-v")
    assert plain.exit_code == 0
    assert Path("out.gif").is_file()
    folder = run(name, "-o", "out")
    assert folder.exit_code == 0
    record = run(name, "-o", "out.mp4", "--json")
    assert record.exit_code == 0
    assert json.loads(record.stdout)["outputs"] == ["out.mp4"]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_name_that_the_terminal_cannot_show(tiny, more):
    make_photo("日.png")
    command = ["extract", "日.png", "--device=cpu", "--threads=1", f"--weights={tiny}", "-q", *more]
    result = CliRunner(charset="cp1252").invoke(main, command)
    assert (result.exit_code, result.exception) == (0, None)
    assert Path("日.mp4").is_file()
    if more:
        assert json.loads(result.stdout)["outputs"] == ["日.mp4"]


# many photos


def test_a_folder_keeps_its_tree(run):
    for name in ("in/a.jpg", "in/sub/b.png", "in/sub/deep/c.png"):
        make_photo(name)
    result = run("in", "-o", "out", "--format", "gif")
    assert result.exit_code == 0
    assert everything("out") == ["a.gif", "sub/b.gif", "sub/deep/c.gif"]
    assert lines(result.stdout) == ["out/a.gif", "out/sub/b.gif", "out/sub/deep/c.gif"]
    *warnings, summary = lines(result.stderr)
    assert [line.partition(": no visible")[0] for line in warnings] == [
        "in/a.jpg", "in/sub/b.png", "in/sub/deep/c.png",
    ]  # fmt: skip
    assert re.fullmatch(r"3 done, 0 skipped, 0 failed in \d+\.\d s, \d+ photos a minute", summary)
    assert run("in", "-o", "out2", "--format", "gif", "-q").stderr == ""


def test_the_first_failure_gives_the_exit_code(run):
    for name in "abc":
        make_photo(f"in/{name}.png")
    Path("out").mkdir()
    Path("out/a.gif").write_text("mine")  # output: 6
    Path("in/c.png").write_text("text")  # input: 3
    assert run("in", "-o", "out", "--format", "gif").exit_code == 6
    assert everything("out") == ["a.gif", "b.gif"]


def test_fail_fast(run):
    for name in "abc":
        make_photo(f"in/{name}.png")
    Path("in/a.png").write_text("text")
    result = run("in", "-o", "out", "--format", "gif", "--fail-fast")
    assert result.exit_code == 3
    assert not Path("out").exists()
    assert "0 done, 0 skipped, 1 failed" in result.stderr


def test_existing_outputs(run):
    for name in "ab":
        make_photo(f"in/{name}.png")
    command = ("in", "-o", "out", "--format", "gif")
    assert run("in/a.png", "-o", "out", "--format", "gif").exit_code == 0
    before = Path("out/a.gif").stat().st_mtime_ns

    refused = run(*command)
    assert refused.exit_code == 6
    assert "out/a.gif: exists already" in refused.stderr
    assert Path("out/b.gif").is_file()

    Path("out/b.gif").unlink()
    resumed = run(*command, "--skip-existing")
    assert resumed.exit_code == 0
    assert resumed.stdout == "out/b.gif\n"
    assert "1 done, 1 skipped, 0 failed" in resumed.stderr
    assert Path("out/a.gif").stat().st_mtime_ns == before

    replaced = run(*command, "--overwrite")
    assert replaced.exit_code == 0
    assert len(lines(replaced.stdout)) == 2
    assert Path("out/a.gif").stat().st_mtime_ns > before

    both = run(*command, "--overwrite", "--skip-existing")
    assert both.exit_code == 2


def test_json_lines(run):
    for name in "abc":
        make_photo(f"in/{name} ü.png")
    Path("in/b ü.png").write_text("text")
    run("in/c ü.png", "-o", "out", "--format", "gif")
    result = run("in", "-o", "out", "--format", "gif", "--json", "--skip-existing")
    assert result.exit_code == 3
    done, failed, skipped = map(json.loads, lines(result.stdout))
    assert done["input"] == "in/a ü.png"
    assert done["outputs"] == ["out/a ü.gif"]
    assert (done["width"], done["height"], done["weights"]) == (48, 32, "tiny")
    assert failed["outputs"] == []
    assert "is text" in failed["error"]
    assert skipped["skipped"] is True
    assert "Error: in/b ü.png" in result.stderr  # a failure is named on stderr all the same


# what a user can do wrong


@pytest.mark.parametrize(
    ("output", "options", "code"),
    [
        ("clip.avi", (), 2),
        ("clip.mp4", ("--format", "gif"), 2),
        ("out", ("--format", "avi"), 2),
        ("clip.html", ("--compare", "wipe"), 2),
        ("out", ("--format", "png", "--compare", "side"), 2),
        ("out", ("--device", "toaster"), 2),
        ("out", ("--precision", "fp8"), 2),
        ("out", ("--threads", "0"), 2),
        ("a.png/clip.mp4", (), 6),
        ("a.png/deep/er", (), 6),
        ("x" * 300 + ".mp4", (), 6),
    ],
)
def test_wrong_options_and_outputs(run, output, options, code):
    result = run(make_photo("a.png"), "-o", output, *options)
    assert result.exit_code == code
    assert result.stdout == ""
    assert len([line for line in lines(result.stderr) if line.startswith("Error: ")]) == 1
    assert everything(".") == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_may_not_be_written(run):
    make_photo("a.png")
    Path("locked").mkdir(mode=0o500)
    result = run("a.png", "-o", "locked/clip.mp4")
    assert result.exit_code == 6
    assert "permission denied" in result.stderr


def test_no_such_weights(run):
    result = run(make_photo("a.png"), "-o", "out.mp4", weights_set="no-such-set")
    assert result.exit_code == 4
    (message,) = lines(result.stderr)
    assert "no-such-set" in message
    assert not Path("out.mp4").exists()


def test_no_weights_at_all(run):
    result = run(make_photo("a.png"), "-o", "out.mp4", weights_set=None)
    assert result.exit_code == 4
    assert "blurvid weights import" in result.stderr


def test_weights_of_another_model(run):
    result = run(make_photo("a.png"), "-o", "out.mp4", "--model", "cascade")
    assert result.exit_code == 4
    assert "belongs to the direct model" in result.stderr


def test_damaged_weights(run, tiny, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (path,) = copy.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = run(make_photo("a.png"), "-o", "out.mp4", weights_set=copy)
    assert result.exit_code == 4
    assert "SHA-256" in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device(run):
    result = run(make_photo("a.png"), "-o", "out.mp4", "--device", "cuda")
    assert result.exit_code == 5
    assert lines(result.stderr) == [
        "Error: no CUDA device on this machine; use --device cpu or auto"
    ]
    assert not Path("out.mp4").exists()


def test_out_of_memory_names_the_photo(run, monkeypatch):
    def hungry(self, y):
        raise DeviceError("cpu ran out of memory; try a smaller image")

    monkeypatch.setattr(pipeline.Extractor, "frames", hungry)
    for name in "ab":
        make_photo(f"in/{name}.png")
    result = run("in", "-o", "out", "--format", "gif")
    assert result.exit_code == 5
    errors = [line for line in lines(result.stderr) if line.startswith("Error: ")]
    assert len(errors) == 2
    assert "in/a.png" in errors[0]
    assert "in/b.png" in errors[1]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize(("before", "code"), [(signal.SIG_DFL, 129), (signal.SIG_IGN, 0)])
def test_the_end_of_a_terminal_in_a_batch(run, monkeypatch, before, code):
    """It ends like Ctrl-C, unless it was told to outlive it, as nohup does."""
    for name in "abc":
        make_photo(f"in/{name}.png")
    save = media.clip.save_looping
    written = []

    def hung_up(pixels, order, path, *more):
        save(pixels, order, path, *more)
        written.append(path)
        if len(written) == 2:
            assert signal.getsignal(signal.SIGHUP) != signal.SIG_DFL  # which would end the tests
            signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(media.clip, "save_looping", hung_up)
    outside = signal.signal(signal.SIGHUP, before)
    try:
        result = run("in", "-o", "out", "--format", "gif", "--jobs", 0)
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, outside)
    assert result.exit_code == code
    names = ["a.gif"] if code else ["a.gif", "b.gif", "c.gif"]
    assert result.stdout.splitlines() == [f"out/{name}" for name in names]
    assert everything("out") == names


@pytest.mark.parametrize("more", [("--jobs", 0), ("--jobs", 1)])
def test_ctrl_c_in_a_batch(run, monkeypatch, more):
    for name in "abc":
        make_photo(f"in/{name}.png")
    save = media.clip.save_looping
    written = []

    def interrupted(pixels, order, path, *more):
        save(pixels, order, path, *more)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(media.clip, "save_looping", interrupted)
    result = run("in", "-o", "out", "--format", "gif", *more)
    assert result.exit_code == 130
    assert result.stdout == "out/a.gif\n"
    assert "Interrupted." in result.stderr
    assert everything("out") == ["a.gif"]


def test_one_file_on_standard_output(run):
    make_photo("a.png", size=(20, 30))
    for kind, start in (("mp4", b"ftyp"), ("gif", b"GIF8"), ("webp", b"RIFF"), ("html", b"<!")):
        result = run("a.png", "-o", "-", "--format", kind)
        assert start in result.stdout_bytes[:12]
        assert "blurvid-" not in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["a.png"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["a.png", "-o", "-"], "choose --format"),
        (["a.png", "-o", "-", "--format", "png"], "choose --format"),
        (["a.png", "b.png", "-o", "-", "--format", "gif"], "-o - is one file, but there are 2"),
        (["a.png", "-o", "-", "--format", "gif", "--json"], "both mean standard output"),
    ],
)
def test_standard_output_is_for_one_file(run, words, match):
    for name in ("a.png", "b.png"):
        make_photo(name, size=(20, 30))
    result = run(*words)
    assert result.exit_code == 2
    assert match in result.stderr
    assert result.stdout == ""


def test_no_picture_goes_to_a_terminal(run, monkeypatch):
    make_photo("a.png", size=(20, 30))
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True)
    assert "to a terminal" in run("a.png", "-o", "-", "--format", "gif").stderr


def test_what_is_known_before_the_network_works_is_said_before(run, monkeypatch):
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save("a.png")
    said = []
    monkeypatch.setattr("blurvid.cli.photos.warn", said.append)
    extract = pipeline.Extractor.__call__

    def watched(self, photo):
        said.append("network")
        return extract(self, photo)

    monkeypatch.setattr(pipeline.Extractor, "__call__", watched)
    run("a.png", "-o", "out", "--format", "jpg")
    assert said[0] == "a.png: JPEG frames have no transparency; they are put on white"
    assert "network" in said[1:]
    assert said.count(said[0]) == 1


def test_allow_truncated(run):
    make_photo("a.jpg", size=(60, 60))
    whole = Path("a.jpg").read_bytes()
    Path("a.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    assert "--allow-truncated" in run("a.jpg", "-o", "a.gif").stderr
    assert "truncated" in run("a.jpg", "-o", "a.gif", "--allow-truncated").stderr


def test_a_single_photo_shows_a_bar_with_its_stages(run, monkeypatch):
    monkeypatch.setattr("blurvid.cli.photos.PATIENCE", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = run(make_photo("a.png"), "-o", "a.html")
    assert "━" in shown.stderr and "writing" in shown.stderr
    assert "━" not in run("a.png", "-o", "b.html", "-q").stderr
