"""Long blur: the scale at which a photo is seen, and the way back to its size."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from helpers import invoke
from torch import nn
from torch.testing import assert_close

from blurvid import media, pipeline
from blurvid.config import DirectSpec, RunOptions
from blurvid.errors import OptionError
from blurvid.exposure import average_frames
from blurvid.networks import DirectNet
from blurvid.pipeline.sizes import (
    LEAST_SIDE,
    SCALES,
    TRAINED_MOTION,
    choose,
    restore,
    shrink,
)
from blurvid.recipe import Recipe, Source
from blurvid.weights import store

pytestmark = pytest.mark.quick

CPU = RunOptions(device="cpu", precision="fp32", threads=1)


def picture(height, width):
    """Rectangles of all sizes and shades."""
    g = torch.Generator().manual_seed(3)
    image = torch.full((3, height, width), 0.5)
    for _ in range(150):
        top, left, tall, wide = (torch.rand(4, generator=g) ** 2).tolist()
        top, left = int(top**0.5 * height), int(left**0.5 * width)
        shade = torch.rand(3, 1, 1, generator=g)
        image[:, top : top + 3 + int(tall * 90), left : left + 3 + int(wide * 90)] = shade
    return image


def moving(image, path):
    """Seven frames that move to the right by `path` px from the first to the last."""
    frames = []
    for index in range(7):
        shift = path * (index / 6 - 0.5)
        whole = math.floor(shift)
        near, far = (image.roll(step, dims=-1) for step in (whole, whole + 1))
        frames.append(near.lerp(far, shift - whole))
    return torch.stack(frames)


class Network:
    """Finds motion of some length in the photo, but no more than a network trained for short one.

    It knows how small the image is that it is shown.
    """

    def __init__(self, width, path, limit=TRAINED_MOTION):
        self.width, self.path, self.limit, self.seen = width, path, limit, []

    def __call__(self, image):
        self.seen.append(tuple(image.shape[-2:]))
        scale = image.shape[-1] / self.width
        return moving(image, min(self.path * scale, self.limit))


# the way there and back


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [(1, 1, 0.05), (1, 50, 0.5), (17, 31, 0.71), (40, 33, 0.05), (40, 33, 0.999), (8, 9, 1)],
)
def test_a_photo_in_which_nothing_moves_comes_back_as_it_was(height, width, scale):
    y = torch.rand(3, height, width)
    small = shrink(y, scale)
    assert small.shape == (3, max(1, round(height * scale)), max(1, round(width * scale)))
    frames = restore(small.expand(7, -1, -1, -1), small, y, torch.empty(7, 3, height, width))
    assert_close(frames, y.expand(7, -1, -1, -1), rtol=0, atol=1e-6)


def test_detail_is_the_photos_and_the_change_the_frames():
    y = picture(64, 96) * 0.5
    y[:, ::2, ::2] += 0.2
    small = shrink(y, 0.25)
    ramp = torch.linspace(0, 0.2, 24).expand(3, 16, 24)
    frames = torch.stack([small + index * ramp / 6 for index in range(7)])
    out = torch.empty(7, 3, 64, 96)

    assert restore(frames, small, y, out) is out

    grown = F.interpolate(ramp[None], size=(64, 96), mode="bilinear", align_corners=False)[0]
    for index, frame in enumerate(out):
        assert_close(frame, y + index * grown / 6, rtol=0, atol=1e-5)


def test_frames_stay_in_range():
    y, small = torch.ones(3, 8, 8), torch.ones(3, 4, 4)
    frames = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 2.0)])
    found = restore(frames, small, y, torch.empty(2, 3, 8, 8))
    assert_close(found, torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]))


# the choice


@pytest.mark.parametrize(
    ("path", "scale"),
    [(0, 1.0), (5, 1.0), (10, 1.0), (20, 0.71), (27, 0.5), (38, 0.35), (50, 0.25), (300, 0.18)],
)
def test_motion_too_long_for_the_network_is_seen_smaller(path, scale):
    assert choose(picture(320, 384), Network(384, path)) == scale


def test_very_long_motion_in_a_large_photo():
    y = picture(640, 704)
    assert choose(y, Network(704, 100)) == 0.125
    assert choose(y, Network(704, 400)) == 0.09


def test_something_small_that_moves_decides_over_what_stands_still():
    y = picture(256, 384)

    def network(image):
        still = image.expand(7, -1, -1, -1).clone()
        half = image.shape[-1] // 5
        still[..., :half] = moving(image[..., :half], 7)
        return still

    assert choose(y, network) < 1


@pytest.mark.parametrize("short", [LEAST_SIDE, 2 * LEAST_SIDE - 1])
def test_what_is_small_is_seen_as_it_is(short):
    network = Network(200, 100)
    assert choose(picture(short, 200), network) == 1
    assert not network.seen


def test_the_choice_costs_a_sixth_of_the_work():
    network = Network(800, 5)
    choose(picture(720, 800), network)
    assert len(network.seen) == 3
    assert sum(math.prod(size) for size in network.seen) < 720 * 800 / 6


def recipe_of(**quality):
    return Recipe(Source("w", "direct"), **quality)


def test_scales_are_what_a_user_would_type():
    assert SCALES[0] == 1
    assert all(1.35 < large / small < 1.46 for large, small in pairwise(SCALES))
    for scale in (*SCALES, "auto", 0.05):
        recipe_of(scale=scale)


@pytest.mark.parametrize("scale", [0, 0.04, 1.01, -0.5, math.nan, math.inf, "large", None])
def test_other_scales_are_refused(scale):
    with pytest.raises(OptionError, match="scale"):
        recipe_of(scale=scale)


def test_the_released_weights_tell_long_blur_from_none():
    sharp = picture(256, 384)
    long = average_frames(torch.stack([sharp.roll(k, dims=-1) for k in range(-22, 23)]), 2.2)
    with pipeline.extractor(run=CPU, model="direct", scale="auto") as ready:

        def run(image):
            return ready.frames(image).frames

        assert choose(sharp, run) == 1
        assert choose(long, run) <= 0.5


# the pipeline and the command line


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    net = DirectNet(DirectSpec(channels=(8, 12), blocks=(1, 1)))
    nn.init.normal_(net.head.weight, 0, 0.02)
    folder = tmp_path_factory.mktemp("sets") / "tiny"
    return store.save(net, folder, name="tiny", recipe={}, data="", scores={}, licence="MIT")


def extracted(weight_set, y, **quality):
    with pipeline.extractor(weight_set, CPU, **quality) as ready:
        return ready(y), ready.frames(y).frames


def test_scale_one_changes_nothing(tiny):
    y = torch.rand(3, 150, 40)
    clip, plain = extracted(tiny, y, scale=1)
    assert clip.scale == 1
    assert torch.equal(clip.tensor, plain)


def test_a_clip_has_the_size_of_the_photo_and_tells_the_scale(tiny):
    y = picture(45, 61)
    clip, plain = extracted(tiny, y, scale=0.35)
    assert clip.scale == 0.35
    assert clip.tensor.shape == plain.shape
    assert (clip.tensor - plain).abs().max() > 0.01
    assert clip.tensor.min() >= 0
    assert clip.tensor.max() <= 1


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    media.write_still(picture(30, 44), path)
    return path


def test_extract_reports_the_scale(tiny, photo, tmp_path):
    command = ("extract", photo, "--weights", tiny.path, "--json", "-v", "--device=cpu")
    command += ("--format", "png")
    given = invoke(*command, "-o", tmp_path / "given", "--scale", "0.5")
    chosen = invoke(*command, "-o", tmp_path / "chosen")
    record = json.loads(given.stdout)
    assert (record["scale"], record["quality"]["scale"]) == (0.5, 0.5)
    assert "scale 0.5" in given.stderr
    assert media.read_photo(record["outputs"][0]).pixels.shape == (3, 30, 44)
    record = json.loads(chosen.stdout)
    assert (record["scale"], record["quality"]["scale"]) == (1.0, "auto")
    assert "scale 1" not in chosen.stderr


def test_eval_scores_at_the_scale(tiny, tmp_path):
    clip = tmp_path / "street_1"
    clip.mkdir()
    for index, frame in enumerate(moving(picture(40, 64), 6)):
        media.write_still(frame, clip / f"{index}.png")
    command = ("eval", clip, "--weights", tiny.path, "-q", "--threads=1", "--device=cpu")

    records = [
        json.loads(invoke(*command, "--json", "--scale", scale).stdout) for scale in ("1", "0.5")
    ]

    assert [record["quality"]["scale"] for record in records] == [1.0, 0.5]
    full, half = (record["mean"]["score"]["ppsnr"] for record in records)
    assert abs(full - half) > 0.01


@pytest.mark.parametrize("command", ["extract", "eval"])
@pytest.mark.parametrize("scale", ["0", "2", "nan", "half"])
def test_a_scale_that_is_none_is_a_usage_error(command, scale, tiny, photo):
    source = photo if command == "extract" else photo.parent
    result = invoke(command, source, "--weights", tiny.path, "--scale", scale)
    assert result.exit_code == 2
    assert result.stdout == ""
    told = "scale must be from 0.05 to 1 or auto"
    if scale == "half":
        told = "'--scale': 'half' is not a number or auto"
    assert told in result.stderr


def test_words_for_the_scale():
    assert recipe_of().describe() == recipe_of().describe(1.0) == ""
    assert recipe_of().describe(0.5) == "scale 0.5"
    assert recipe_of(scale=1.0).describe() == "scale 1.0"
    assert recipe_of(scale=0.25).describe(0.25) == "scale 0.25"
