"""Which way time runs: for a whole clip, and for one object of it."""

import dataclasses
import functools
import html
import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import Whole, extractor_of, invoke
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from blurvid import flow, media
from blurvid.config import DirectSpec
from blurvid.errors import InputError, OptionError
from blurvid.flow import seam
from blurvid.networks import DirectNet
from blurvid.pipeline import Clip
from blurvid.recipe import Recipe, Source
from blurvid.weights import store

pytestmark = pytest.mark.quick

HEIGHT, WIDTH = 64, 96


@functools.cache
def texture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, height, width)
    for cell in (4, 8, 16):
        coarse = torch.rand(1, 3, height // cell + 3, width // cell + 3, generator=generator)
        fine = F.interpolate(coarse, scale_factor=cell, mode="bicubic", align_corners=False)
        image += fine[..., cell : cell + height, cell : cell + width]
    return ((image - image.amin()) / (image.amax() - image.amin()))[0]


def panned(dx, dy):
    """Frames whose whole content goes (dx, dy) px a frame."""
    scene = texture(HEIGHT + 40, WIDTH + 40)
    tops = [20 - dy * (i - 3) for i in range(7)]
    lefts = [20 - dx * (i - 3) for i in range(7)]
    return torch.stack(
        [scene[:, t : t + HEIGHT, x : x + WIDTH] for t, x in zip(tops, lefts, strict=True)]
    )


def two_cars():
    """A still scene in which one square goes right, above, and another one below."""
    frames = texture(HEIGHT, WIDTH).repeat(7, 1, 1, 1)
    car = texture(12, 12, seed=1)
    for i, frame in enumerate(frames):
        frame[:, 10:22, 30 + 2 * i : 42 + 2 * i] = car
        frame[:, 42:54, 30 + 2 * i : 42 + 2 * i] = car
    return frames


def clip_of(frames):
    photo = media.Photo(frames.mean(0), name="photo.png")
    return Clip(frames, photo, Recipe(Source("w", "direct")))


# all of the photo

TURNED = [
    (2, 0, "left"), (-2, 1, "right"), (1, 2, "up"), (0, -2, "down"),
]  # fmt: skip
KEPT = [(2, 0, "right"), (-2, 1, "left"), (1, 2, "down"), (0, -2, "up"), (-2, 0, "auto")]


@pytest.mark.parametrize(("dx", "dy", "direction"), TURNED)
def test_the_dominant_motion_is_made_to_point_there(dx, dy, direction):
    frames = panned(dx, dy)
    before = frames.clone()
    clip = clip_of(frames).face(direction)
    assert torch.equal(clip.tensor, before.flip(0))
    assert torch.equal(frames, before)
    assert (clip.recipe.direction, clip.warnings) == (direction, ())


@pytest.mark.parametrize(("dx", "dy", "direction"), KEPT)
def test_what_points_there_already_is_left(dx, dy, direction):
    frames = panned(dx, dy)
    assert torch.equal(clip_of(frames).face(direction).tensor, frames)


def test_motion_across_the_direction_is_left_with_a_warning():
    frames = panned(2, 0)
    clip = clip_of(frames).face("up")
    assert torch.equal(clip.tensor, frames)
    assert "neither up nor against it" in clip.warnings[0]


def test_a_still_photo_has_nothing_to_turn():
    still = texture(32, 40).repeat(7, 1, 1, 1)
    clip = clip_of(still).face("left")
    assert torch.equal(clip.tensor, still)
    assert clip.warnings == ()


def test_an_unknown_direction_is_refused():
    with pytest.raises(OptionError, match="no direction named 'north'"):
        clip_of(two_cars()).face("north")


# one object


def test_one_object_goes_back_and_the_other_stays_as_it_was():
    frames = two_cars()
    before = frames.clone()
    clip = clip_of(frames).flip("22,4,44,24")

    assert torch.equal(frames, before)
    assert torch.equal(clip.tensor[:, :, :32], before.flip(0)[:, :, :32])  # swapped bit by bit
    assert torch.equal(clip.tensor[:, :, 32:], before[:, :, 32:])
    assert clip.recipe.flips == ("22,4,44,24",)
    both = clip.flip("22,36,44,24")
    assert torch.equal(both.tensor, before.flip(0))
    assert both.recipe.flips == ("22,4,44,24", "22,36,44,24")


@pytest.mark.parametrize(
    "region",
    [
        (22, 4, 44, 24),
        "22.9%, 6.25%, 45.8%, 37.5%",
        np.pad(np.ones((24, 44), bool), ((4, 36), (22, 30))),
        torch.nn.functional.pad(torch.full((24, 44), 255, dtype=torch.uint8), (22, 30, 4, 36)),
    ],
    ids=["numbers", "percent", "array", "tensor"],
)
def test_a_region_may_come_in_many_forms(region):
    expected = clip_of(two_cars()).flip("22,4,44,24").tensor
    assert torch.equal(clip_of(two_cars()).flip(region).tensor, expected)


def test_a_mask_is_an_image_and_is_scaled_with_a_warning(tmp_path):
    mask = torch.zeros(3, HEIGHT, WIDTH)
    mask[:, 4:28, 22:66] = 1
    media.write_still(mask, tmp_path / "same.png")
    media.write_still(mask[:, ::2, ::2], tmp_path / "half.png")
    clip = clip_of(two_cars())
    expected = clip.flip("22,4,44,24").tensor
    same, half = clip.flip(tmp_path / "same.png"), clip.flip(str(tmp_path / "half.png"))
    assert torch.equal(same.tensor, expected)
    assert same.warnings == ()
    assert torch.equal(half.tensor, expected)
    assert half.warnings == (f"the mask {tmp_path / 'half.png'} has 48x32 px; scaled to 96x64",)


def test_transparent_parts_of_a_mask_are_not_chosen(tmp_path):
    mask = media.Photo(torch.ones(3, 8, 8), alpha=torch.zeros(1, 8, 8))
    mask.alpha[:, 2:5, 3:6] = 1
    media.write_still(mask.pixels, tmp_path / "m.png", mask)
    found, _ = media.region(tmp_path / "m.png").of(8, 8)
    assert torch.equal(found, mask.alpha[0] > 0)


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        ("1,2,3", OptionError, "no region"),
        ("-1,2,3,4", OptionError, "no region"),
        ("1,2,0,4", OptionError, "is empty"),
        ("100,2,3,4", InputError, "outside of the photo, 96x64 px"),
        ("nowhere.png", InputError, "nowhere.png"),
        (np.zeros((4, 4)), OptionError, "is empty"),
        (np.ones((4, 4, 3)), OptionError, "shape"),
    ],
)
def test_what_is_no_region_is_refused(region, error, message):
    clip = clip_of(two_cars())
    with pytest.raises(error, match=message):
        clip.flip(region)


def gradients(frames):
    """Largest steps between neighbouring pixels in x and y, per pixel, (T, H-1, W-1)."""
    x = (frames[..., :-1, 1:] - frames[..., :-1, :-1]).abs().amax(1)
    y = (frames[..., 1:, :-1] - frames[..., :-1, :-1]).abs().amax(1)
    return torch.maximum(x, y)


def added_gradients(frames, before):
    """By how much steps between pixels are larger than in both frames of the pair."""
    return gradients(frames) - torch.maximum(gradients(before), gradients(before.flip(0)))


REGIONS = st.tuples(
    st.integers(0, 40), st.integers(0, 20), st.integers(26, 60), st.integers(26, 50)
).map(lambda edges: ",".join(map(str, edges)))


@settings(deadline=None, max_examples=8)
@given(region=REGIONS, dx=st.integers(-2, 2), dy=st.integers(-2, 2))
def test_whatever_the_region_pairs_keep_their_sum_and_no_edge_shows(region, dx, dy):
    frames = two_cars()
    frames[..., :40] = panned(dx, dy)[..., :40]
    before = frames.clone()
    mask, _ = media.region(region).of(HEIGHT, WIDTH)
    seam.flip(frames, mask)

    assert_close(frames + frames.flip(0), before + before.flip(0), atol=1e-6, rtol=0)
    agree = (before == before.flip(0)).all(0).all(0)
    assert torch.equal(frames[..., agree], before[..., agree])
    share = seam.weights(before, mask)
    assert share.min() >= 0 and share.max() <= 1
    # What is turned around stays between the frames of its pair, and a cut without a seam adds
    # steps as large as their difference; the seam is to add a fraction of that.
    change = (before - before.flip(0)).abs().amax()
    assert added_gradients(frames, before).max() <= 0.25 * change


def test_a_seam_goes_where_nothing_moves():
    frames = two_cars()
    before = frames.clone()
    # The edge of this rectangle cuts through the upper car at its end, by 5 px.
    mask, _ = media.region("22,4,27,24").of(HEIGHT, WIDTH)
    seam.flip(frames, mask)
    cut = torch.where(mask, before.flip(0), before)
    assert added_gradients(frames, before).max() < 0.5 * added_gradients(cut, before).max()


def test_small_regions_and_small_photos_still_swap():
    for size in ((1, 1), (1, 9), (5, 4)):
        frames = torch.rand(7, 3, *size)
        before = frames.clone()
        seam.flip(frames, torch.ones(size, dtype=torch.bool))
        assert torch.equal(frames, before.flip(0))
    frames = torch.rand(7, 3, 20, 20)
    before = frames.clone()
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[9:11, 9:11] = True
    seam.flip(frames, mask)
    assert not torch.equal(frames, before)


@pytest.mark.parametrize("rows", [1, 1000])
def test_large_photos_are_done_in_pieces_with_a_seam_found_on_a_small_one(monkeypatch, rows):
    monkeypatch.setattr(seam, "SEAM_SIDE", 48)
    monkeypatch.setattr(seam, "_ROWS", rows)
    frames = two_cars()
    before = frames.clone()
    seam.flip(frames, media.region("20,2,48,28").of(HEIGHT, WIDTH)[0])
    assert torch.equal(frames[:, :, :32], before.flip(0)[:, :, :32])
    assert torch.equal(frames[:, :, 32:], before[:, :, 32:])


# what moves on its own


def test_what_moves_is_found_and_turned_by_a_point_in_it():
    clip = clip_of(two_cars())
    labels = flow.find_objects(flow.measure(clip.tensor))
    assert int(labels.max()) == 2
    middles = sorted(flow.middle_of(labels, number) for number in (1, 2))
    for x, y in middles:
        assert 30 <= x * WIDTH <= 54
        assert 10 <= y * HEIGHT <= 22 or 42 <= y * HEIGHT <= 54

    turned, back = clip.flip("40,16").tensor, two_cars().flip(0)
    missed = (turned - back)[:, :, :32].abs().sum()
    assert missed < 0.05 * (two_cars() - back)[:, :, :32].abs().sum()
    assert torch.equal(turned[:, :, 32:], two_cars()[:, :, 32:])
    both = clip.flip("41.7%,25%").flip((40, 48)).tensor
    assert (both - back).abs().sum() < 0.05 * (two_cars() - back).abs().sum()


def test_a_point_where_nothing_moves_changes_nothing_and_says_so():
    clip = clip_of(two_cars()).flip("5,5")
    assert torch.equal(clip.tensor, two_cars())
    assert clip.warnings == ("nothing moves at 5,5; time was left as it was there",)
    with pytest.raises(InputError, match="point 96,5 is outside of the photo"):
        clip.flip("96,5")


def test_objects_that_move_apart_are_two_and_a_pan_is_one():
    vectors = torch.zeros(2, 40, 60)
    vectors[0] = 3.0
    assert flow.find_objects(flow.Field(vectors, (40, 60))).unique().tolist() == [1]
    vectors[0, 10:25, 10:30] = -6.0
    labels = flow.find_objects(flow.Field(vectors, (40, 60)))
    assert labels.unique().tolist() == [1, 2]
    assert (labels[12:23, 12:28] == 2).all()
    assert (labels[12:23, 6:10] == 2).all()  # also where it goes to
    assert (labels[30:] == 1).all()
    still = flow.Field(torch.full((2, 40, 60), 0.3), (40, 60))
    assert flow.find_objects(still).max() == 0


def test_a_player_of_a_clip_knows_its_objects_and_how_to_repeat_them(tmp_path):
    recipe = Recipe(Source("w", "direct"), passes=2, scale=0.5, direction="up")
    clip = dataclasses.replace(clip_of(two_cars()), recipe=recipe)
    clip.save(tmp_path / "a.html", reverse=True)

    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    points = re.findall(r'class="object" alt="" data-at="([^"]+)"', text)
    assert len(points) == 2
    for point in points:
        assert torch.equal(clip.flip(point).tensor, clip.flip(point).flip("0,0,1,1").tensor)
        assert not torch.equal(clip.flip(point).tensor, clip.tensor)
    command = html.unescape(re.search(r'data-command="([^"]+)" data-reversed="true"', text)[1])
    assert command == (
        "blurvid extract photo.png --model direct --weights w --quality good --scale 0.5 "
        "--direction up"
    )


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a/b c.jpg", "'b c.jpg'"),
        ("-", "photo.jpg"),
        ("-x.png", "./-x.png"),
        ("it's", "'it'\"'\"'s'"),
    ],
)
def test_the_command_names_the_photo_as_a_shell_wants_it(name, word):
    recipe = Recipe(Source("w", "direct"), flips=("m.png",))
    assert recipe.command(name) == f"blurvid extract {word} --model direct --weights w --flip m.png"


# while extracting


class Cars(Whole):
    """Stands for a model: it always answers with two cars."""

    name, size_multiple = "cars", 1

    def __call__(self, y):
        return two_cars()[None]


def test_an_extractor_turns_first_all_and_then_a_region():
    extract = extractor_of(Cars(), direction="left", flips=("22,4,44,24",))
    clip = extract(two_cars().mean(0))
    assert torch.equal(clip.tensor[:, :, :32], two_cars()[:, :, :32])
    assert torch.equal(clip.tensor[:, :, 32:], two_cars().flip(0)[:, :, 32:])
    assert (clip.recipe.direction, clip.recipe.flips) == ("left", ("22,4,44,24",))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with weights whose frames differ, and a photo."""
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    torch.nn.init.uniform_(net.head.bias, -0.3, 0.3)
    told = {"seven_frame_psnr": 26.5}
    store.save(net, tmp_path / "w", name="w", recipe={}, data="none", scores=told, licence="MIT")
    media.write_still(torch.full((3, 40, 60), 0.5), tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return invoke("extract", *words, "--weights=w", "--threads=1", "--device=cpu", "--scale=1")


def frames_in(folder):
    return np.stack([media.read_photo(folder / f"a_{i}.png").pixels.numpy() for i in range(1, 8)])


def test_the_command_flips_regions_and_reverses_last(here):
    assert run("a.png", "-o", "plain", "--format", "png").exit_code == 0
    result = run("a.png", "-o", "flipped", "--format", "png", "--flip", "0,0,50%,100%", "--json")
    assert json.loads(result.stdout)["flips"] == ["0,0,50%,100%"]
    assert (
        run("a.png", "-o", "back", "--format", "png", "--flip=0,0,50%,100%", "--reverse").exit_code
        == 0
    )

    plain, flipped, back = (frames_in(here / name) for name in ("plain", "flipped", "back"))
    np.testing.assert_array_equal(flipped[..., :20], plain[::-1, ..., :20])
    np.testing.assert_array_equal(flipped[..., 40:], plain[..., 40:])
    np.testing.assert_array_equal(back, flipped[::-1])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--flip", "1,2,3"), 2, "'1,2,3' is no region"),
        (("--flip", "90,2,3,4"), 3, "a.png: the region 90,2,3,4 is outside of the photo"),
        (("--flip", "no.png"), 3, "no.png: no such file"),
        (("--direction", "north"), 2, "north"),
    ],
)
def test_the_command_refuses_what_it_does_not_understand(here, words, code, message):
    result = run("a.png", "-o", "out.gif", *words)
    assert result.exit_code == code
    assert message in result.stderr
    assert not (here / "out.gif").exists()
