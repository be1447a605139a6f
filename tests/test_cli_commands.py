"""Every command but extract: help, streams, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from helpers import invoke, save_tiny
from PIL import Image

import blurvid
from blurvid import config, doctor, media
from blurvid.cli import main
from blurvid.errors import BlurvidError
from blurvid.lab.data import read_windows
from blurvid.lab.options import SynthOptions, TrainOptions

pytestmark = pytest.mark.usefixtures("here")
QUICK = ("--device", "cpu", "--precision", "fp32", "--threads", "1")


def lines(text):
    return [line for line in text.splitlines() if line]


@pytest.fixture
def tiny(tmp_path):
    """Untrained weights in the cache, under the name of the direct model."""
    return save_tiny(tmp_path / "home/weights/direct", score=26.5)


@pytest.fixture
def clip():
    """A clip of 15 frames that moves one pixel a frame."""
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 10, 16), (40, 64), mode="bilinear")[0]
    for index in range(15):
        media.write_still(wide[:, 4:36, 15 - index : 63 - index], Path(f"clip/{index}.png"))
    return Path("clip")


@pytest.fixture
def windows(clip):
    invoke("synth", clip, "-o", "made", "-q")
    return Path("made")


# help and version


def commands(group=main, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


every_command = pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*entry, id="-".join(entry[0])) for entry in commands()]
)


@every_command
def test_every_command_has_help_with_an_example(path, command):
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert f"Usage: main {' '.join(path)}" in result.stdout
    assert "Example" in result.stdout
    assert f"blurvid {' '.join(path)} " in result.stdout.replace("\n", " ")
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert invoke(*path, "-h").stdout == result.stdout


@every_command
def test_every_option_is_explained(path, command):
    silent = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and not parameter.help
        and parameter.name not in ("frames", "stride", "seed", "batch", "model")
    ]
    assert silent == []


@pytest.mark.parametrize("name", ["extract", "deblur", "synth", "eval", "train"])
def test_long_help_stands_below_headings(name):
    command = main.get_command(click.Context(main), name)
    options = [option for option in command.params if isinstance(option, click.Option)]
    shown = invoke(name, "--help-all").stdout
    for option in options:
        assert len(re.findall(rf"^  (?:-\w, )?{option.opts[-1]}[ ,]", shown, re.M)) == 1, option
    assert "Options:" not in shown


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ["extract", "deblur", "synth", "eval", "train"])
def test_the_first_help_screen_fits_a_terminal(name, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    command = main.get_command(click.Context(main), name)
    shown = invoke(name, "--help").stdout
    assert len(shown.splitlines()) <= 24
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count(f"\n    blurvid {name} ") == 3 or name == "train"
    assert "--help-all" in shown
    rows = re.findall(r"^  (?:-\w, )?--[\w-]+", shown, re.M)
    assert len(rows) == len(command.first) + 1 <= 12


def test_the_whole_tool_has_help():
    result = invoke("--help")
    assert result.exit_code == 0
    for name in ("extract", "synth", "eval", "train", "bench", "weights", "doctor"):
        assert f"\n  {name} " in result.stdout
    assert "blurvid photo.jpg -o clip.html" in result.stdout
    assert "..." not in result.stdout.partition("Commands:")[2]  # no summary is cut off


def test_examples_in_help_name_real_options():
    for path, command in commands():
        known = {name for parameter in command.params for name in parameter.opts}
        known |= {name for parameter in command.params for name in parameter.secondary_opts}
        for line in (f"{command.help}\n{getattr(command, 'more', '')}").splitlines():
            if line.strip().startswith(f"blurvid {' '.join(path)} "):
                used = {word for word in line.split() if word.startswith("-") and word != "-"}
                assert used <= known, line


def test_version():
    result = invoke("--version")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split() == ["main", blurvid.__version__]


@pytest.mark.parametrize("words", [("nonsense",), ("--nonsense",), ("extract", "--nonsense")])
def test_what_is_not_known_is_a_usage_error(words):
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "nonsense" in result.stderr


def test_every_error_has_the_exit_code_of_its_kind():
    codes = {kind.__name__: kind.code for kind in BlurvidError.__subclasses__()}
    assert codes == {
        "OptionError": 2,
        "InputError": 3,
        "WeightsError": 4,
        "DeviceError": 5,
        "OutputError": 6,
        "TrainingError": 1,
    }
    assert BlurvidError.code == 1


# synth


def test_synth_makes_windows(clip):
    result = invoke("synth", clip, "-o", "made", "--gamma", "srgb")
    assert result.exit_code == 0
    assert result.stdout == f"{Path('made/manifest.jsonl')}\n"
    assert "2 windows written, 0 skipped" in result.stderr
    stored = read_windows(Path("made"))
    assert [window.gamma for window in stored] == ["srgb", "srgb"]
    assert Path("made/clip/000001/sharp_7.png").is_file()


def test_synth_has_a_default_folder(clip):
    result = invoke("synth", clip, "-q", "--stride", 4)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert len(read_windows(Path("windows"))) == 3


def test_synth_from_stills():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    Path("photos").mkdir()
    Image.fromarray(pixels).save("photos/a.png")
    words = ("synth", "--stills", "photos", "-o", "made", "--count", 2)
    result = invoke(*words, "--max-path", 4, "--layers", 1, "--seed", 3)
    assert result.exit_code == 0
    assert len(read_windows(Path("made"))) == 2


def test_synth_goes_on_after_a_failure(clip):
    Path("bad").mkdir()
    for index in range(8):
        Path(f"bad/{index}.png").write_text("no image")
    result = invoke("synth", "bad", clip, "-o", "made")
    assert result.exit_code == 3
    assert result.stdout == f"{Path('made/manifest.jsonl')}\n"
    assert len(read_windows(Path("made"))) == 2
    assert len([line for line in lines(result.stderr) if line.startswith("Error: ")]) == 1
    assert "1 sources failed" in result.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("clip", "--gamma", "dark"), 2),
        (("clip", "--gamma", "0"), 2),
        (("clip", "--frames", "4"), 2),
        (("clip", "--crop", "4000"), 3),
        (("clip", "--stills", "--frames", "9"), 2),
        (("clip", "--scale", "0"), 2),
        (("nowhere",), 3),
        ((), 2),
    ],
)
def test_synth_errors(clip, words, code):
    result = invoke("synth", *words, "-o", "made")
    assert result.exit_code == code
    assert "Error: " in result.stderr


def test_synth_replaces_nothing_and_goes_on_when_told_to(windows, clip):
    assert invoke("synth", clip, "-o", windows).exit_code == 6
    resumed = invoke("synth", clip, "-o", windows, "--resume")
    assert resumed.exit_code == 0


def test_synth_below_a_file_cannot_write(clip):
    Path("file").write_text("in the way")
    result = invoke("synth", clip, "-o", "file/made")
    assert result.exit_code == 6
    assert len(lines(result.stderr)) == 1


# eval


def test_eval_prints_a_table(windows, tiny):
    result = invoke("eval", windows, *QUICK)
    assert result.exit_code == 0
    assert "Model direct (weights direct), 2 windows" in result.stdout
    assert "pPSNR" in result.stdout
    assert "blurry x 7" in result.stdout
    assert len(lines(result.stderr)) == 2
    assert all(line.endswith(" dB") for line in lines(result.stderr))
    assert invoke("eval", windows, "-q", *QUICK).stderr == ""


def test_eval_as_json(windows, tiny):
    result = invoke("eval", windows, "--json", "-q", *QUICK)
    assert result.exit_code == 0
    (line,) = lines(result.stdout)
    found = json.loads(line)
    assert (found["model"], found["weights"], found["windows"]) == ("direct", "direct", 2)
    # an untrained network is the blurry photo
    mean = found["mean"]
    assert mean["score"]["ppsnr"] == pytest.approx(mean["blurry"]["ppsnr"], abs=1e-3)


def test_eval_on_a_clip_equals_eval_on_its_windows(windows, clip, tiny):
    ppsnr = [
        json.loads(invoke("eval", source, "--json", "-q", *QUICK).stdout)["mean"]["score"]["ppsnr"]
        for source in (windows, clip)
    ]
    assert ppsnr[0] == pytest.approx(ppsnr[1], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere",), 3),
        (("made", "--weights", "no-such-set"), 4),
        (("made", "--gamma", "dark"), 2),
        (("made", "--model", "cascade"), 4),
        (("made", "--device", "toaster"), 2),
        (("clip", "--stride", "0"), 2),
        ((), 2),
    ],
)
def test_eval_errors(windows, tiny, words, code):
    result = invoke("eval", *words)
    assert result.exit_code == code
    assert result.stdout == ""
    assert len([line for line in lines(result.stderr) if line.startswith("Error: ")]) == 1


# bench


def test_bench_prints_a_table(tiny):
    words = ("bench", "--model", "direct", "--res", "30x20", "--repeats", 1)
    result = invoke(*words, "--device", "cpu", "--threads", 1)
    assert result.exit_code == 0
    assert re.search(r"30x20 .*direct .* \d+\.\d\d", result.stdout)
    assert len(lines(result.stderr)) == 1
    assert result.stderr.startswith("30x20 direct ")


def test_bench_as_json(tiny):
    words = ("bench", "--model", "direct", "--res", "30x20", "--res", "40x20", *QUICK)
    result = invoke(*words, "--repeats", 1, "--json", "-q")
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert [row["resolution"] for row in found["rows"]] == ["30x20", "40x20"]
    assert {row["precision"] for row in found["rows"]} == {"float32"}
    assert found["threads"] == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--res", "999"), 2),
        (("--repeats", "0"), 2),
        (("--device", "cuda"), 5),
        (("--precision", "fp16", "--device", "cpu"), 2),
    ],
)
def test_bench_errors(tiny, words, code):
    if code == 5 and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    result = invoke("bench", "--model", "direct", *words)
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Error: " in result.stderr


# weights


def test_weights_list(tiny, tmp_path):
    save_tiny(tmp_path / "home/weights/other")
    result = invoke("weights", "list")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in lines(result.stdout)]
    assert [row[:3] for row in rows] == [
        ["direct", "direct", "26.50 dB"],
        ["other", "direct", "no score"],
    ]
    assert rows[0][4] == str(tiny.path)
    records = [json.loads(line) for line in lines(invoke("weights", "list", "--json").stdout)]
    assert [record["name"] for record in records] == ["direct", "other"]
    assert records[0]["score"] == 26.5
    assert records[0]["path"] == str(tiny.path)


def test_weights_list_of_nothing():
    result = invoke("weights", "list")
    assert (result.exit_code, result.stdout) == (0, "")


def test_weights_path(tiny, tmp_path):
    assert invoke("weights", "path").stdout == f"{tmp_path / 'home'}\n"
    assert invoke("weights", "path", "direct").stdout == f"{tiny.path}\n"
    missing = invoke("weights", "path", "no-such-set")
    assert missing.exit_code == 4
    assert missing.stdout == ""


def test_weights_verify(tiny, tmp_path):
    save_tiny(tmp_path / "home/weights/other")
    assert invoke("weights", "verify").stdout == "direct: ok\nother: ok\n"
    assert invoke("weights", "verify", "other").stdout == "other: ok\n"
    file = tiny.file("direct")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    damaged = invoke("weights", "verify", "direct")
    assert damaged.exit_code == 4
    assert damaged.stdout == ""
    assert str(file) in damaged.stderr


def test_weights_verify_goes_on_after_a_failure(tiny, tmp_path):
    save_tiny(tmp_path / "home/weights/other")
    tiny.file("direct").write_bytes(b"damaged")
    result = invoke("weights", "verify")
    assert result.exit_code == 4
    assert result.stdout == "other: ok\n"
    assert tiny.file("direct").name in result.stderr


def test_weights_import_refuses_what_is_no_checkpoint():
    Path("a.pth").write_text("no checkpoint")
    result = invoke("weights", "import", "a.pth", "a.pth", "a.pth", "a.pth")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "a.pth" in result.stderr
    assert invoke("weights", "import").exit_code == 2
    assert invoke("weights", "import", "nowhere.pth").exit_code == 4


# doctor


def test_doctor_is_content(tiny):
    result = invoke("doctor")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert all(line.startswith("ok  ") for line in lines(result.stdout))
    for name in ("blurvid", "torch", "device", "precision", "images", "video", "cache", "weights"):
        assert f"ok    {name} " in result.stdout


def diagnosed():
    """What `doctor` finds, by name."""
    result = invoke("doctor", "--json")
    findings = {entry["name"]: entry for entry in map(json.loads, lines(result.stdout))}
    assert result.exit_code == (0 if all(entry["ok"] for entry in findings.values()) else 1)
    return findings


def test_doctor_finds_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BLURVID_HOME", str(tmp_path / "file/home"))
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    findings = diagnosed()
    wrong = {name for name, entry in findings.items() if not entry["ok"]}
    assert wrong == {"no-such-package", "cache", "weights"}
    assert "run: pip install no-such-package" in findings["no-such-package"]["text"]
    assert "BLURVID_HOME" in findings["cache"]["text"]
    assert "weights import" in findings["weights"]["text"]


def test_doctor_and_a_torch_that_cannot_be_imported(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    *_, last = diagnosed().values()
    assert last["name"] == "import torch" and not last["ok"]
    assert "libcudart" in last["text"] and "pip install --force-reinstall torch" in last["text"]


def test_doctor_tries_to_write_a_video(monkeypatch):
    monkeypatch.setattr("blurvid.media.mp4._TO_BT709", "no=such:filter=option")
    found = doctor._finding("video", doctor._video, doctor._PYAV)
    assert not found.ok and "pip install --force-reinstall av" in found.text


def test_doctor_knows_a_gpu_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path / "nvidia0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "a build for CPUs" in doctor._device()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    found = doctor._finding("device", doctor._device, "")
    assert not found.ok and "CUDA 12.8; update the driver" in found.text


def test_doctor_tells_of_a_full_disk(monkeypatch):
    full = SimpleNamespace(total=1, used=1, free=10**8)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: full)
    found = doctor._finding("disk", doctor._disk, "TMPDIR")
    assert not found.ok and "only 0.1 GB free" in found.text


def test_doctor_finds_damaged_weights(tiny):
    tiny.file("direct").write_bytes(b"damaged")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "FAIL  weights" in result.stdout
    assert tiny.file("direct").name in result.stdout


# the defaults of the command line are those of the library


@pytest.mark.parametrize(
    ("words", "defaults"),
    [
        (["extract", "photo"], config.ClipOptions()),
        (["extract", "photo"], config.RunOptions()),
        (["synth", "clip"], SynthOptions()),
        (["train", "--data", "photos", "--out", "run"], TrainOptions()),
        (["train", "--data", "photos", "--out", "run"], config.RunOptions()),
        (["eval", "clip"], config.RunOptions()),
    ],
)
def test_defaults_come_from_one_place(words, defaults):
    name, *arguments = words
    found = main.commands[name].make_context(name, arguments).params
    # What is None leaves its field at the default, or at the model's own.
    shared = {
        key: value for key, value in found.items() if hasattr(defaults, key) and value is not None
    }
    shared.pop("stages", None)  # `all` there
    assert shared
    for key, value in shared.items():
        assert str(value) == str(getattr(defaults, key)), key
