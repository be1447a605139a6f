"""The middle frame: from another deblurrer, from the user, alone; robustness to other blur."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import invoke
from PIL import Image
from torch.testing import assert_close

from blurvid import media, pipeline, weights
from blurvid.config import MIDDLE, BDIRSpec, CascadeSpec, DirectSpec, RunOptions
from blurvid.models import GuidedCascade, build, middle_of
from blurvid.networks.one_frame import OneFrame
from blurvid.recipe import resolve_middle
from blurvid.weights import store

pytestmark = pytest.mark.usefixtures("surroundings", "inside")
CPU = RunOptions(device="cpu", precision="fp32", threads=1)
SPECS = {
    "cascade": CascadeSpec(width=0.05),
    "direct": DirectSpec(channels=(8, 12), blocks=(1, 1)),
    "bdirnet": BDIRSpec(channels=(8, 12), blocks=(1, 1), rec_blocks=1),
}


def awake(name):
    """A small model all of whose parts matter."""
    model = build(name, SPECS[name])
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval().requires_grad_(False)


def make_set(folder, model, **scores):
    store.save(
        model, folder, name=folder.name, recipe={}, data="none", scores=scores, licence="MIT",
        dtype=torch.float32,
    )  # fmt: skip
    return folder


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def released(tmp_path):
    """A set of each model, as a release has them."""
    gains = {"cascade": 0.1, "direct": 0.5, "bdirnet": 1.5}
    scores = {"cascade": 20.0, "direct": 25.0, "bdirnet": 10.0}
    return {
        name: make_set(
            tmp_path / "released" / name, awake(name), middle_gain=gains[name],
            seven_frame_psnr=scores[name],
        )
        for name in SPECS
    }  # fmt: skip


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (33, 45, 3), np.uint8)
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    picture.save(tmp_path / "photo.png", exif=exif)
    picture.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "sharp.png")
    return Path("photo.png")


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# In the cascade


def test_its_own_middle_network_changes_nothing():
    cascade = awake("cascade")
    guided = GuidedCascade(cascade, middle_of(cascade))
    y = torch.rand(1, 3, 40, 60)
    assert_close(guided(y), cascade(y))
    plain, found = torch.empty(2, 7, 3, 40, 60)
    cascade.fill(plain, y)
    guided.fill(found, y)
    assert_close(found, plain)


@pytest.mark.parametrize("name", SPECS)
def test_every_model_gives_a_middle_frame(name):
    model = awake(name)
    y = torch.rand(1, 3, 80, 80)
    alone = middle_of(model)
    frame, out = alone(y), torch.empty(1, 3, 80, 80)
    assert frame.shape == (1, 1, 3, 80, 80)
    alone.fill(out, y)
    assert_close(out, frame[0], rtol=1e-4, atol=1e-5)
    assert alone.memory(80, 80, 4) > 0
    if name != "bdirnet":
        assert_close(frame[:, 0], model(y)[:, MIDDLE - 1], rtol=1e-4, atol=1e-5)
    guided = GuidedCascade(awake("cascade"), alone)
    assert_close(guided(y)[:, MIDDLE - 1], frame[:, 0], rtol=1e-4, atol=1e-5)


class Given(OneFrame):
    """A middle frame that is known."""

    def __init__(self, frame):
        super().__init__()
        self.frame = frame

    def forward(self, y):
        return self.frame[:, None]


def test_a_guided_cascade_fills_the_middle_frame_as_photos_are(monkeypatch):
    y, tiled = torch.rand(2, 1, 3, 40, 40)
    middle = Given(torch.rand(1, 3, 40, 40))
    monkeypatch.setattr(middle, "fill", lambda out, y: out.copy_(tiled))
    assert_close(GuidedCascade(awake("cascade"), middle)(y)[:, MIDDLE - 1], tiled)


def test_a_better_middle_frame_reaches_all_frames():
    cascade = awake("cascade")
    y, given = torch.rand(2, 1, 3, 40, 40)
    frames = GuidedCascade(cascade, Given(given))(y)[0]
    assert_close(frames[MIDDLE - 1], given[0])
    plain = cascade(y)[0]
    assert all((a - b).abs().max() > 0.01 for a, b in zip(frames, plain, strict=True))


def test_a_picture_is_no_middle_frame_of_the_cascade(released, photo):
    words = ("--model", "cascade", "--middle", "sharp.png", "-o", "out.gif")
    result = invoke("extract", photo, *words)
    assert result.exit_code == 2
    assert "a picture as middle frame is for the motion model" in result.stderr


def test_the_direct_model_has_no_place_for_it(released, photo):
    result = invoke("extract", photo, "--model", "direct", "--middle", "bdirnet", "-o", "out.gif")
    assert result.exit_code == 2
    assert "use --model motion or cascade" in result.stderr
    result = invoke("extract", photo, "--weights", "bdirnet", "-o", "out.gif")
    assert result.exit_code == 2
    assert "gives one frame only" in result.stderr


def test_auto_takes_the_best_known(released, photo):
    words = ("extract", photo, "--model", "cascade", "--json", "-q", "--overwrite", "-o", "out.gif")
    assert json.loads(invoke(*words).stdout)["middle"] == "bdirnet"
    assert json.loads(invoke(*words, "--middle", "own").stdout)["middle"] is None
    assert json.loads(invoke(*words, "--middle", "direct").stdout)["middle"] == "direct"
    # Weights whose middle network was never compared keep it.
    make_set(Path("mine"), awake("cascade"))
    mine = invoke(*words, "--weights", "./mine")
    assert json.loads(mine.stdout)["middle"] is None
    # A cascade whose own network is the best keeps it, too.
    make_set(Path("good"), awake("cascade"), middle_gain=9.0)
    assert json.loads(invoke(*words, "--weights", "./good").stdout)["middle"] is None


def test_a_middle_named_means_the_cascade_where_motion_is_not_there(released, photo):
    result = invoke(
        "extract", photo, "--middle", "bdirnet", "-o", "frames", "--format", "png", "--verbose"
    )
    assert result.exit_code == 0
    assert "Model cascade (weights cascade, 20.00 dB, middle frame by bdirnet)" in result.stderr
    net = store.load(weights.find("bdirnet"))
    with torch.no_grad():
        padded = pipeline.sizes.fit(media.read_photo(photo).pixels, 40)  # as both networks need it
        expected = media.to_uint8(net(padded[None])[0, ..., :33, :45])[0]
    assert np.abs(pixels_of("frames/photo_4.png").astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("choice", "code", "message"),
    [
        ("nowhere", 4, "nowhere"),
        ("nowhere.pth", 4, "nowhere.pth: cannot read these weights"),
        ("photo.txt", 2, "photo.txt: a picture as middle frame is for the motion model"),
    ],
)
def test_middles_that_are_none(released, photo, choice, code, message):
    Path("photo.txt").write_text("not a picture")
    result = invoke("extract", photo, "--middle", choice, "-o", "out.gif")
    assert result.exit_code == code
    assert message in result.stderr


# Alone


def test_deblur_writes_one_sharp_picture(released, photo):
    result = invoke("deblur", photo)
    assert result.exit_code == 0
    assert result.stdout == "photo_sharp.png\n"
    net = store.load(weights.find("bdirnet"))
    y = media.read_photo(photo).pixels[None]
    with torch.no_grad():
        expected = net(pipeline.sizes.fit(y[0], net.size_multiple)[None])[0, 0, :, :33, :45]
    found = pixels_of("photo_sharp.png").astype(int)
    assert np.abs(found - media.to_uint8(expected[None])[0]).max() <= 1
    with Image.open("photo_sharp.png") as image:
        assert image.getexif()[0x010F] == "a camera"


def test_deblur_keeps_trees_formats_and_photos(released, photo):
    for name in ("a.jpg", "sub/b.png", "sub/c.bmp"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_of(photo)).save(Path("in", name))
    result = invoke("deblur", "in", "-o", "out", "--middle", "direct", "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    outputs = sorted(path.as_posix() for line in lines for path in map(Path, line["outputs"]))
    assert outputs == ["out/a.jpg", "out/sub/b.png", "out/sub/c.png"]
    assert all(line["reblur_psnr"] is None and line["weights"] == "direct" for line in lines)
    again = invoke("deblur", "in", "-o", "out", "--middle", "direct", "--skip-existing")
    assert "0 done, 3 skipped" in again.stderr
    refused = invoke("deblur", "in", "-o", "out", "--middle", "direct")
    assert refused.exit_code == 6
    onto = invoke("deblur", photo, "-o", photo, "--overwrite")
    assert onto.exit_code == 6
    assert "same file as an input" in onto.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "x.gif"], 2, "unknown suffix .gif"),
        (["-o", "x.jpg", "--format", "png"], 2, "contradict"),
        (["--middle", "own"], 2, "only a cascade has"),
        (["--middle", "sharp.png"], 2, "is a picture"),
        (["--middle", "nothing.png"], 3, "nothing.png: no such file"),
        (["--overwrite", "--skip-existing"], 2, "contradict"),
        (["-o", "x.jpg", "sharp.png"], 2, "is one file"),
    ],
)
def test_deblur_says_what_is_wrong(released, photo, words, code, message):
    result = invoke("deblur", photo, *words)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_deblur_of_a_large_photo_in_tiles(released, monkeypatch):
    """Where a photo does not fit, tiles give nearly the same."""
    y = torch.rand(3, 300, 800)
    with pipeline.opened(resolve_middle(middle="bdirnet"), CPU) as deblur:
        whole = deblur.frames(y)
        monkeypatch.setattr(
            pipeline.extraction, "view_of", lambda *a, **k: pipeline.sizes.View(side=400)
        )
        tiled = deblur.frames(y)
    assert (whole.tiles, tiled.tiles) == (1, 3)
    assert (whole.frames - tiled.frames).abs().mean() < 0.01


# Others' networks


@pytest.fixture
def spandrel():
    """Spandrel; beside a torch for CPUs, torchvision's operators are declared by hand."""
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is not installed")
    with contextlib.suppress(ImportError):
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            # A torchvision built for CUDA has no operators here. Spandrel needs none of them.
            source = Path(importlib.util.find_spec("torchvision").origin)
            text = source.with_name("_meta_registrations.py").read_text()
            library = torch.library.Library("torchvision", "DEF")
            names = re.findall(r"torchvision::(\w+)|register_meta\(\"(\w+)\"", text)
            for name in {first or second for first, second in names}:
                library.define(f"{name}(Tensor a) -> Tensor")
            spandrel_library.append(library)
    import spandrel

    return spandrel


spandrel_library = []
"""Keeps the declarations."""


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_others(released, photo, spandrel):
    from spandrel.architectures.NAFNet import NAFNet

    net = NAFNet(width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]).eval()
    torch.save({"params": net.state_dict()}, "naf.pth")
    result = invoke("deblur", photo, "--middle", "naf.pth", "-o", "out.png", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["weights"] == "naf"
    y = media.read_photo(photo).pixels
    with torch.no_grad():
        expected = net(y[None])[0].clamp(0, 1)
    assert np.abs(pixels_of("out.png").astype(int) - media.to_uint8(expected[None])[0]).max() <= 1
    with pipeline.extractor(run=CPU, middle="naf.pth", scale=1.0) as extract:
        clip = extract(photo)
    with torch.no_grad():
        padded = net(pipeline.sizes.fit(y, 20)[None])[0, :, :33, :45].clamp(0, 1)
    assert_close(clip.tensor[MIDDLE - 1], padded, rtol=0, atol=1e-4)

    Path("bad.pth").write_bytes(b"nothing")
    result = invoke("deblur", photo, "--middle", "bad.pth")
    assert result.exit_code == 4
    assert "spandrel cannot read these weights" in result.stderr


def test_spandrel_is_named_where_it_is_missing(released, photo, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spandrel", None)
    Path("naf.pth").write_bytes(b"x")
    result = invoke("deblur", photo, "--middle", "naf.pth")
    assert result.exit_code == 4
    assert "pip install 'blurvid[spandrel]'" in result.stderr


# Kinds of blur


def moving(count, size=48):
    """A pattern that moves by a pixel a frame."""
    cells = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    wide = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return torch.stack([wide[:, :size, i : i + size] for i in range(count)])


@pytest.fixture
def clip(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for i, frame in enumerate(media.to_uint8(moving(22))):
        Image.fromarray(frame).save(folder / f"{i:03d}.png")
    return folder


def test_eval_with_another_middle_network(released, clip):
    result = invoke("eval", clip, "--middle", "bdirnet", "--json", "-q", "--scale", "1")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    assert (values["model"], values["middle"]) == ("cascade", "bdirnet")


@pytest.mark.parametrize("words", [(), ("--middle", "bdirnet"), ("--middle", "own")])
def test_eval_takes_the_model_and_the_middle_frame_that_extract_takes(released, clip, photo, words):
    quick = ("--json", "-q", "--scale", "1", *words)
    scored = json.loads(invoke("eval", clip, *quick).stdout)
    made = json.loads(invoke("extract", photo, "-o", "frames", "--format", "png", *quick).stdout)
    for key in ("model", "weights", "middle"):
        assert scored[key] == made[key]
