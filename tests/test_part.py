"""A part of a photo or video that alone is worked on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_video
from helpers import Whole, extractor_of, invoke, save_tiny
from PIL import Image

from blurvid import media
from blurvid.errors import InputError, OptionError
from blurvid.pipeline import part
from blurvid.recipe import GIVEN, Recipe, Source

pytestmark = pytest.mark.quick

BOX = media.Box(300, 360, 200, 300)
"""The region 200,300,100,60."""
MARGIN, RAMP = part.MARGIN, part.RAMP


class Marked(Whole):
    """A model whose frames are the photo, each a little brighter than the one before."""

    name, size_multiple = "marked", 1

    def __init__(self):
        self.seen = []

    def __call__(self, y):
        self.seen.append(tuple(y.shape[-2:]))
        return torch.stack([y[0] * (1 + 0.05 * i) for i in range(7)])[None]


def ready(region, paste=False, **order):
    return extractor_of(Marked(), scale=1.0, region=region, paste=paste, **order)


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(3, 600, 800, generator=torch.Generator().manual_seed(0)) * 0.7


def brighter(pixels, i):
    return pixels * (1 + 0.05 * i)


@pytest.mark.parametrize("region", ["200,300,100,60", (200, 300, 100, 60), "25%,50%,12.5%,10%"])
def test_the_region_alone_is_seen_with_a_margin(pixels, region):
    extract = ready(region)
    clip = extract(pixels)
    assert extract.network.seen == [(60 + 2 * MARGIN, 100 + 2 * MARGIN)]
    for i, frame in enumerate(clip.tensor):
        assert torch.equal(frame, brighter(BOX.of(pixels), i))
    assert torch.equal(clip.photo.pixels, BOX.of(pixels))
    assert clip.recipe.record()["region"] == "200,300,100,60"
    assert "--region 200,300,100,60" in clip.recipe.command("a.jpg")
    assert clip.trust().field.size == (60, 100)
    with pytest.raises(OptionError, match="of a whole photo"):
        clip.resample(13)


def test_a_pasted_region_goes_over_into_the_photo(pixels):
    clip = ready("200,300,100,60", paste=True)(pixels)
    assert clip.tensor.shape == (7, 3, 600, 800)
    near = BOX.grown(RAMP, 600, 800)
    for i, frame in enumerate(clip.tensor):
        torch.testing.assert_close(BOX.of(frame), brighter(BOX.of(pixels), i))
        share = (frame / pixels - 1)[0] / (0.05 * i) if i else torch.zeros(600, 800)
        outside = torch.ones(600, 800, dtype=torch.bool)
        near.of(outside)[:] = False
        assert torch.equal(frame[:, outside], pixels[:, outside])
        # From left to right: nothing of it, more and more, all of it.
        way = share[330, 200 - RAMP : 201]
        if i:
            assert (way.diff() > 0).all()
            assert way[0] < 0.02 < 0.98 < way[-1]
    assert clip.recipe.command("a.jpg").endswith("--region 200,300,100,60 --paste")
    assert clip.trust().field.size == (600, 800)
    assert clip.trust().psnr == pytest.approx(ready("200,300,100,60")(pixels).trust().psnr)


def test_a_region_at_the_border_has_no_edge_there(pixels):
    clip = ready("0,0,100,60", paste=True)(pixels)
    corner = media.Box(0, 60, 0, 100)
    torch.testing.assert_close(corner.of(clip.tensor[6]), brighter(corner.of(pixels), 6))
    whole = ready("0,0,100%,100%", paste=True)(pixels)
    torch.testing.assert_close(whole.tensor[6], brighter(pixels, 6))


def test_other_regions_are_counted_in_the_whole_photo(pixels):
    mask = torch.zeros(600, 800, dtype=torch.bool)
    mask[:, 250:] = True
    for flips in (("250,200,500,300",), (mask,)):
        clip = ready("200,300,100,60", flips=flips)(pixels)
        torch.testing.assert_close(
            clip.tensor[0][..., :30], brighter(pixels, 0)[:, 300:360, 200:230]
        )
        torch.testing.assert_close(
            clip.tensor[0][..., 70:], brighter(pixels, 6)[:, 300:360, 270:300]
        )
    for outside in ("600,10,50,50", "600,10"):
        with pytest.raises(InputError, match=r"the region 600,10.* is outside of the part"):
            ready("200,300,100,60", flips=(outside,))(pixels)
    point = media.region("250,310").within(BOX, 600, 800)
    assert point.edges == ((50, False), (10, False))


def test_a_region_that_the_photo_cuts_is_told(pixels):
    assert ready("200,300,100,60")(pixels).warnings == ()
    clip = ready("750,580,100,60")(pixels)
    assert clip.tensor.shape[-2:] == (20, 50)
    assert clip.warnings == (
        "the region 750,580,100,60 reaches beyond the photo; it is 750,580,50,20 there",
    )


def test_what_is_no_region_is_refused(pixels):
    with pytest.raises(InputError, match="outside of the photo, 800x600"):
        ready("900,0,10,10")(pixels)
    for region in ("5,5", torch.ones(600, 800)):
        with pytest.raises(OptionError, match="no rectangle"):
            ready(region)(pixels)
    source = Source("w", "direct")
    with pytest.raises(OptionError, match="what is pasted is a region"):
        Recipe(source, paste=True)
    with pytest.raises(OptionError, match="goes with a whole photo"):
        Recipe(source, Source("m", GIVEN), region="1,1,2,2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", moving=True).path


def test_regions_from_the_command_line(tmp_path, tiny, surroundings, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769).update({0xA002: 120, 0xA003: 90})
    Image.fromarray(image).save("a.png", exif=exif)
    write_video("v.mp4", [image] * 2)
    words = ("extract", "--weights", tiny, "--device", "cpu", "--threads", 1)

    result = invoke(
        *words, "a.png", "--region", "10,20,40,30", "-o", "out", "--format", "png", "--json"
    )
    record = json.loads(result.stdout)
    assert (record["region"], record["paste"]) == ("10,20,40,30", False)
    assert (record["width"], record["height"]) == (40, 30)
    with Image.open("out/a_4.png") as frame:
        assert frame.size == (40, 30)
        sizes = frame.getexif().get_ifd(0x8769)
        assert (sizes[0xA002], sizes[0xA003]) == (40, 30)

    whole = (*words, "a.png", "--region", "10,20,40,30", "--paste")
    assert invoke(*whole, "-o", "a.html").exit_code == 0
    page = Path("a.html").read_text()
    assert "<dt>region</dt> <dd>10,20,40,30</dd>" in page
    assert "--region 10,20,40,30 --paste" in page

    assert invoke(*words, "v.mp4", "--region", "10,20,40,30", "-o", "v.gif").exit_code == 0
    with Image.open("v.gif") as frame:
        assert frame.size == (40, 30)
    for extra in ("--start", "1:00"), ("--duration", "2"):
        result = invoke(*words, "a.png", *extra)
        assert (result.exit_code, f"{extra[0]} is for videos" in result.stderr) == (2, True)
    assert invoke(*words, "v.mp4", "--start", "1:2:3:4").exit_code == 2
    result = invoke(*words, "a.png", "--paste")
    assert (result.exit_code, "name one" in result.stderr) == (2, True)
