"""What is written besides the frames, with the command: motion, trust."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import invoke
from PIL import Image

from blurvid import media
from blurvid.config import DirectSpec
from blurvid.networks import DirectNet
from blurvid.weights import store

KINDS = ["flow", "trust"]
PLACES = {"flow": ["_flow.flo", "_flow.png"],
          "trust": ["_trust.npy", "_trust.png"]}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with untrained weights and photos."""
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    told = {"seven_frame_psnr": 26.5}
    store.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    for name in ("a", "b", "in/a", "in/deep/c"):
        media.write_still(torch.full((3, 16, 24), 0.5), tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return invoke("extract", *words, "--weights=w", "--threads=1", "--device=cpu")


def test_one_photo_and_all_about_it(here):
    words = ("--trust", "s/a.png", "--flow", "m/a.flo", "--flow", "b.npy")
    result = run("a.png", "-o", "a.html", *words, "--trust", "t/a.npy", "--json")
    record = json.loads(result.stdout)
    assert record["outputs"] == ["a.html", "m/a.flo", "b.npy", "s/a.png", "t/a.npy"]
    assert set(record["motion"]) == {"dx", "dy", "median", "p95", "longest"}
    assert set(record["trust"]) == {"psnr", "motion", "sharpness", "reasons"}
    assert record["trust"]["reasons"] == ["still"]
    assert "a.png: no visible gain" in result.stderr
    with Image.open("s/a.png") as drawn:
        assert drawn.format == "PNG"
    assert Path("m/a.flo").stat().st_size == 12 + 8 * 16 * 24
    assert np.load("b.npy").shape == np.load("t/a.npy").shape == (16, 24, 2)
    text = Path("a.html").read_text()
    assert record["verdict"]["text"] in text
    assert text.count('class="map"') == 2
    assert run("a.png", "-o", "out", "--trust", "maps").exit_code == 0
    assert Path("maps/a_trust.png").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_many_photos(here, kind):
    words = ("in", "a.png", "-o", "out", "--format", "gif", f"--{kind}", "out", "-q")
    result = run(*words)
    stems = ["out/a_png", "out/deep/c", "out/a_png_2"]
    assert result.stdout.split() == [
        f"{stem}{end}" for stem in stems for end in (".gif", *PLACES[kind])
    ]
    assert result.stderr == ""
    assert run(*words).exit_code == 6
    missing = Path(f"out/deep/c{PLACES[kind][0]}")
    missing.unlink()
    again = run(*words, "--skip-existing").stdout.split()
    assert again == [f"out/deep/c{end}" for end in (".gif", *PLACES[kind])]
    assert missing.is_file()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("a.png", "b.png", "-o", "o", "--format=png", "--KIND", "m.png"), 2, "is one file"),
        (("a.png", "-o", "a.mp4", "--KIND", "m.jpg"), 2, "m.jpg: KIND is written as ."),
        (
            ("a.png", "-o", "o", "--format=png", "--KIND", "o/a_3.png"),
            2,
            "for the KIND and for something else",
        ),
        (("a.png", "-o", "a.mp4", "--flow=c.png", "--KIND", "c.png"), 2, "for something else"),
        (("a.png", "-o", "a.mp4", "--KIND", "b.png"), 6, "b.png: exists already"),
        (("a.png", "-o", "a.mp4", "--KIND", "a.png", "--overwrite"), 6, "same file as an input"),
        (("a.png", "-o", "a.mp4", "--KIND", "a.png/b.png"), 6, "file, not a folder"),
    ],
)
def test_what_cannot_be_written(here, kind, words, code, message):
    before = sorted(here.rglob("*"))
    result = run(*(word.replace("KIND", kind) for word in words))
    assert result.exit_code == code
    assert message.replace("KIND", kind) in result.stderr
    assert result.stdout == ""
    assert sorted(here.rglob("*")) == before
