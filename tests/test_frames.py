"""Other numbers of frames than seven: what they are, where they go, how they are scored."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import extractor_of, invoke
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import blurvid
from blurvid import flow, media, weights
from blurvid.config import DirectSpec
from blurvid.errors import OptionError
from blurvid.lab.metrics import psnr
from blurvid.networks import DirectNet
from blurvid.pipeline import Clip
from blurvid.pipeline.more import places, resample
from blurvid.recipe import Recipe, Source

HEIGHT, WIDTH = 48, 64


def at(moment, step=2.0, height=HEIGHT, width=WIDTH):
    """A smooth pattern, moved by `step` px a frame, at a moment in frames."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    u = x - moment * step
    wave = 0.5 + 0.2 * torch.sin(0.4 * u + 0.1 * y) + 0.2 * torch.cos(0.35 * y - 0.25 * u)
    return wave.expand(3, -1, -1).float()


def seven(**shape):
    return torch.stack([at(moment, **shape) for moment in range(7)])


def clip_of(frames):
    photo = media.Photo(frames.mean(0), name="photo.png")
    return Clip(frames, photo, Recipe(Source("w", "direct")))


# what they are


@given(st.integers(3, 49))
def test_frames_are_spread_evenly(count):
    found = places(count)
    times = [index + part for index, part in found]
    assert times[0] == 0 and found[-1] == (6, 0)
    assert np.allclose(np.diff(times), 6 / (count - 1))
    assert all(0 <= part < 1 for _, part in found)
    opposite = [6 - time for time in reversed(times)]
    assert np.allclose(times, opposite)  # so that time can be turned around


def test_those_at_the_times_of_the_seven_are_these():
    frames = seven()
    for count, kept in ((7, range(7)), (3, (0, 3, 6)), (4, (0, 2, 4, 6)), (13, range(7))):
        found = resample(frames, count)
        assert len(found) == count
        exact = [i for i, (_, part) in enumerate(places(count)) if part == 0]
        assert torch.equal(found[exact], frames[list(kept)])


@pytest.mark.parametrize("count", [5, 10])
def test_others_lie_between_along_the_motion(count):
    frames = seven()
    found = resample(frames, count)
    for image, (before, part) in zip(found, places(count), strict=True):
        true = at(before + part)
        inner = (slice(None), slice(4, -4), slice(14, -14))
        if part:
            blend = torch.lerp(frames[before], frames[before + 1], part)
            assert psnr(image[inner], true[inner]) > psnr(blend[inner], true[inner]) + 5
    assert found.min() >= 0 and found.max() <= 1


def test_what_is_hidden_comes_from_where_it_is_seen():
    # A bright patch goes right over a textured ground, which it covers and uncovers.
    ground = torch.rand(1, 3, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(1))
    ground = 0.4 * F.interpolate(ground, (HEIGHT, WIDTH), mode="bilinear")[0]
    images = []
    for left in (16, 18, 20):
        image = ground.clone()
        image[:, 14:34, left : left + 20] = 0.9 - 0.3 * ground[:, 14:34, 10:30]
        images.append(image)
    first, true, last = images
    out = torch.empty_like(first)
    flow.between(first, last, flow.mutual_flow(first, last), [0.5], [out])
    assert psnr(out, true) > psnr((first + last) / 2, true) + 6
    pieces = torch.empty_like(first)
    flow.between(first, last, flow.mutual_flow(first, last), [0.5], [pieces], at_once=1)
    torch.testing.assert_close(pieces, out)


def test_large_images_are_matched_smaller(monkeypatch):
    monkeypatch.setattr("blurvid.flow.interpolate.BETWEEN_SIDE", WIDTH)
    big = [F.interpolate(at(m)[None], scale_factor=2, mode="bilinear")[0] for m in (0, 0.5, 1)]
    forth, _ = flows = flow.mutual_flow(big[0], big[2])
    assert forth.shape == (2, HEIGHT, WIDTH)
    assert float(forth[0].median()) == pytest.approx(4, abs=0.3)  # pixels of the full size
    out = torch.empty_like(big[0])
    flow.between(big[0], big[2], flows, [0.5], [out])
    inner = (slice(None), slice(8, -8), slice(16, -16))
    assert psnr(out[inner], big[1][inner]) > 35


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 50])
def test_numbers_that_cannot_be(count):
    with pytest.raises(OptionError, match="3 to 49 are possible"):
        clip_of(seven()).resample(count)


# from Python


def test_a_clip_of_more_frames_remembers_the_seven(tmp_path, monkeypatch):
    clip = clip_of(seven())
    more = clip.resample(13)
    assert more.frames.shape == (13, HEIGHT, WIDTH, 3)
    assert more.reblur_psnr == clip.reblur_psnr
    assert more.motion() == clip.motion()
    assert more.trust().psnr == clip.trust().psnr
    assert torch.equal(more.resample(7).tensor, clip.tensor)
    assert more.resample(7).seven is None
    assert torch.equal(more.resample(5).tensor, clip.resample(5).tensor)
    turned = more.face("left")
    assert torch.equal(turned.tensor[::2], clip.tensor.flip(0))
    part = more.flip("0,0,50%,100%")
    assert torch.equal(part.tensor[::2], clip.flip("0,0,50%,100%").tensor)

    with pytest.raises(OptionError, match="need the 7"):
        clip_of(clip.tensor[3:4]).resample(13)
    monkeypatch.setattr("blurvid.runtime.room", lambda *_: 0)  # no memory: they lie on disk
    assert torch.equal(clip.resample(13).tensor[::2], clip.tensor)


@pytest.mark.parametrize(("device", "limit"), [("cpu", 123), ("cuda", None)])
def test_a_limit_of_a_gpu_is_none_of_the_frames_on_the_host(monkeypatch, device, limit):
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    ready = extractor_of(net, "w", torch.device(device), max_memory=123)
    clip = dataclasses.replace(clip_of(seven()), host_memory=ready.host_memory)
    asked = []
    monkeypatch.setattr("blurvid.runtime.room", lambda device, most: asked.append(most) or 1 << 30)
    assert len(clip.resample(13).tensor) == 13
    assert asked == [limit]


# with the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with untrained weights and photos."""
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    told = {"seven_frame_psnr": 26.5}
    weights.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    for name in ("a", "in/a", "in/c"):
        media.write_png(torch.rand(3, 16, 24), tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return invoke("extract", *words, "--weights=w", "--threads=1", "--device=cpu", "-q")


@pytest.mark.parametrize("count", [5, 13])
def test_every_output_has_as_many(here, count):
    names = [f"a_{n:0{len(str(count))}d}.png" for n in range(1, count + 1)]
    words = ("--frames", str(count), "--seconds=0", "--once")
    record = json.loads(
        run("a.png", "-o", "f", "--format", "png", "--montage", "m.png", "--json", *words).stdout
    )
    assert record["outputs"] == [f"f/{name}" for name in names] + ["m.png"]
    assert record["frames"] == count
    for kind in ("gif", "webp", "mp4", "html"):
        assert run("a.png", "-o", f"a.{kind}", *words).exit_code == 0
    with Image.open("a.gif") as gif:
        assert gif.n_frames == count or count > gif.n_frames > 0  # equal frames are one
    assert media.video_info(Path("a.mp4")).timing.count == count
    text = Path("a.html").read_text()
    assert text.count('class="frame"') == count
    assert f"--frames {count}" in text
    assert run("in", "-o", "out", "--format", "png", "--skip-existing", *words).exit_code == 0
    assert sorted(p.name for p in Path("out").glob("a_*")) == names


def test_seven_is_the_default(here):
    run("a.png", "-o", "x")
    run("a.png", "-o", "y", "--frames", "7")
    assert [p.read_bytes() for p in sorted(Path("x").iterdir())] == [
        p.read_bytes() for p in sorted(Path("y").iterdir())
    ]
    clip = blurvid.extract("a.png", weights_name="w", frames=4)
    assert len(clip.tensor) == 4
    with pytest.raises(OptionError):
        blurvid.extract("missing.png", weights_name="w", frames=50)
    assert run("a.png", "-o", "z", "--frames", "50").exit_code == 2
    assert not Path("z").exists()


# how they are scored
