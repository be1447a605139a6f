"""Blur formation, and still photos under simulated motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from blurvid.bounds import check
from blurvid.config import MIDDLE
from blurvid.errors import OptionError
from blurvid.exposure import TIMES, average_frames, displacement, image_of, light_of, sample
from blurvid.lab.camera import IDEAL
from blurvid.lab.options import MotionOptions
from blurvid.lab.synth import draw_gammas, margin, simulate

GAMMAS = [1.0, 2.2, 1.8, "srgb"]
MOTION = MotionOptions(max_path=8.0, still=0.0, covered=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def layers(b=4, height=64, width=64):
    """Smooth textures, two for each sample."""
    coarse = torch.rand(2 * b, 3, height // 4, width // 4, generator=generator())
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return fine.clamp(0, 1).view(b, 2, 3, height, width)


def moved(options=MOTION, sources=None, camera=IDEAL, seed=0, gamma=None):
    sources = layers() if sources is None else sources
    return simulate(sources, options, camera, generator(seed), gamma)


# Blur formation


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    gamma=st.one_of(st.just("srgb"), st.floats(0.4, 3.0)),
)
@settings(max_examples=60, deadline=None)
def test_light_and_back(values, gamma):
    image = torch.tensor(values, dtype=torch.float64)
    assert_close(image_of(light_of(image, gamma), gamma), image, atol=1e-6, rtol=1e-6)
    assert_close(light_of(image_of(image, gamma), gamma), image, atol=1e-6, rtol=1e-6)


def test_srgb_is_that_of_the_standard():
    encoded = np.linspace(0, 1, 401)  # IEC 61966-2-1
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    found = light_of(torch.from_numpy(encoded), "srgb")
    assert_close(found, torch.from_numpy(linear), atol=1e-12, rtol=0)
    assert_close(
        image_of(torch.from_numpy(linear), "srgb"), torch.from_numpy(encoded), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_black_and_white_stay(gamma):
    ends = torch.tensor([0.0, 1.0])
    assert_close(light_of(ends, gamma), ends)
    assert_close(image_of(ends, gamma), ends)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_average_of_equal_frames_is_the_frame(gamma):
    frame = torch.rand(3, 4, 5)
    found = average_frames(frame.expand(7, 3, 4, 5), gamma)
    assert_close(found, frame, atol=1e-6, rtol=1e-5)


def test_average_in_numbers():
    frames = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1)
    assert_close(average_frames(frames, 1.0).item(), 0.5)
    assert_close(average_frames(frames, 2.2).item(), ((0.2**2.2 + 0.8**2.2) / 2) ** (1 / 2.2))
    assert average_frames(torch.rand(2, 7, 3, 4, 5), "srgb").shape == (2, 3, 4, 5)


# Simulated motion


def test_shapes_and_range():
    rim = margin(MOTION)
    found = moved(replace(MOTION, covered=0.5), layers(3, 60, 72))
    size = 60 - 2 * rim, 72 - 2 * rim
    assert found.blurry.shape == (3, 3, *size)
    assert found.frames.shape == (3, 7, 3, *size)
    assert found.path.shape == (3, 4, *size)
    for images in (found.blurry, found.frames):
        assert images.min() >= 0
        assert images.max() <= 1 + 1e-6


def test_the_middle_frame_along_the_path_is_each_frame_where_one_layer_moves():
    found = moved(sources=layers(6))
    assert found.path[:, :2].norm(dim=1).amax() > 2
    inner = (..., slice(10, -10), slice(10, -10))
    m = found.frames[:, MIDDLE - 1]
    for i in (0, 6):  # between, a path may be uneven in time
        seen = sample(m, displacement(found.path, TIMES[i]))
        error = (seen - found.frames[:, i])[inner].square().mean().sqrt()
        still = (m - found.frames[:, i])[inner].square().mean().sqrt()
        assert error < 0.01 < 5 * error + 0.01 < still
    rim = margin(MOTION)  # the darkest light is not black
    assert_close(m, layers(6)[:, 0, :, rim:-rim, rim:-rim], atol=3e-3, rtol=0)


def test_what_is_in_front_has_its_own_path_and_what_stands_still_is_sharp():
    still = moved(replace(MOTION, still=1.0, covered=0.6))
    assert still.path.abs().max() == 0
    assert_close(still.blurry, still.frames[:, 0], atol=1e-4, rtol=0)
    one, two = moved(), moved(replace(MOTION, covered=1.0))
    assert not torch.equal(one.path, two.path)
    assert (one.path == two.path).all(dim=1).any()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_exposures_average_instants_in_the_response_asked_for(gamma):
    found = moved(replace(MOTION, sub_frames=1), gamma=gamma)
    assert_close(found.blurry, average_frames(found.frames, gamma), atol=1e-4, rtol=0)


def test_a_response_is_drawn_for_each_sample():
    found = moved(replace(MOTION, sub_frames=1, gammas=(2.2, 2.2)))
    assert_close(found.blurry, average_frames(found.frames, 2.2), atol=1e-3, rtol=0)
    gammas = draw_gammas(400, replace(MOTION, gammas=(1.8, 2.6)), generator()).flatten()
    assert ((gammas - 2.2).abs() < 1e-6).float().mean() == pytest.approx(0.5, abs=0.1)
    assert gammas.min() > 1.8 and gammas.max() < 2.6 and gammas.std() > 0.1


def test_more_instants_change_the_average_a_little_and_the_frames_not_at_all():
    few, many, most = (moved(replace(MOTION, sub_frames=n)) for n in (1, 5, 15))
    assert_close(many.frames, few.frames, atol=1e-4, rtol=0)
    gap = (most.blurry - many.blurry).abs().mean()
    assert gap < 0.5 * (most.blurry - few.blurry).abs().mean()
    assert gap < 0.01


@pytest.mark.parametrize(("order", "least", "most"), [("canonical", 1, 1), ("random", 0.3, 0.7)])
def test_canonical_order_moves_every_layer_to_the_right(order, least, most):
    found = moved(replace(MOTION, order=order, max_path=4.0), layers(32, 24, 24))
    a = found.path[:, :2].mean(dim=(-2, -1))
    far = a.norm(dim=1) > 0.5  # beyond what turning and zooming do to the mean
    assert far.sum() > 8
    rightwards = (a[far, 0] < 0.05).float().mean()  # content comes from the left
    assert least <= rightwards <= most


def test_paths_are_no_longer_than_asked_for():
    found = moved(replace(MOTION, max_path=6.0), layers(64, 16, 16))
    assert 1.5 < found.path[:, :2].mean(dim=(-2, -1)).norm(dim=1).max() < 1.5 * 3


def test_the_seed_decides():
    first, again, other = (moved(seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.blurry, again.blurry)
    assert torch.equal(first.path, again.path)
    assert not torch.equal(first.blurry, other.blurry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sub_frames": 0}, "odd"),
        ({"sub_frames": 2}, "odd"),
        ({"max_path": -1.0}, "max_path"),
        ({"max_path": float("inf")}, "max_path"),
        ({"still": 1.5}, "still"),
        ({"covered": float("nan")}, "covered"),
        ({"source_scale": (0.0, 1.0)}, "source_scale"),
        ({"gammas": (2.6, 1.8)}, "gammas"),
    ],
)
def test_motion_that_cannot_be_simulated(change, message):
    check(MOTION)
    with pytest.raises(OptionError, match=message):
        moved(replace(MOTION, **change))
