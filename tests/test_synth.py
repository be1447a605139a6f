import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from blurvid.blur import average_frames, to_image, to_light
from blurvid.errors import OptionError
from blurvid.lab.options import MotionOptions
from blurvid.lab.synth import margin, simulate
from blurvid.lab.synth.levels import average_levels
from blurvid.lab.synth.poses import canonical_sign

GAMMAS = [1.0, 2.2, 1.8, "srgb"]
SIZE = (24, 32)
STRAIGHT = MotionOptions(
    sub_frames=1, max_path=8.0, still=0.0, turning=0.0, gammas=((2.2, 1.0),), layers=1
)
SPINNING = replace(STRAIGHT, max_path=0.0, turning=1.0, max_turn=20.0, max_zoom=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def side_for(size, options):
    return max(size) + 2 * margin(size, options)


def photos(options, b=2, k=1, size=SIZE):
    side = side_for(size, options)
    return torch.rand(b, k, 3, side, side)


def dot(options, right=0, down=0, b=4, size=SIZE):
    """One soft bright dot in the dark, some pixels off the centre."""
    side = side_for(size, options)
    axis = torch.arange(side) - (side - 1) / 2
    x, y = (axis - right)[None, :], (axis - down)[:, None]
    blob = torch.exp(-(x**2 + y**2) / 8)
    return blob.expand(b, 1, 3, side, side)


def centroids(frames):
    """Centre (x, y) of the light in frames (B, T, 3, H, W), in px from the image's centre."""
    light = frames.mean(dim=2)
    h, w = light.shape[-2:]
    total = light.sum(dim=(-2, -1))
    x = (light.sum(dim=-2) * (torch.arange(w) - (w - 1) / 2)).sum(dim=-1) / total
    y = (light.sum(dim=-1) * (torch.arange(h) - (h - 1) / 2)).sum(dim=-1) / total
    return x, y


def forward(moves):
    """Whether all moves [px] go forward, some visibly."""
    return bool(moves.min() > -1e-3 and moves.max() > 0.5)


# Blur formation


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    gamma=st.one_of(st.just("srgb"), st.floats(0.4, 3.0)),
)
@settings(max_examples=60, deadline=None)
def test_light_and_back(values, gamma):
    image = torch.tensor(values, dtype=torch.float64)
    assert_close(to_image(to_light(image, gamma), gamma), image, atol=1e-6, rtol=1e-6)
    assert_close(to_light(to_image(image, gamma), gamma), image, atol=1e-6, rtol=1e-6)


def test_srgb_is_that_of_the_standard():
    encoded = np.linspace(0, 1, 401)  # IEC 61966-2-1
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    found = to_light(torch.from_numpy(encoded), "srgb")
    assert_close(found, torch.from_numpy(linear), atol=1e-12, rtol=0)
    assert_close(
        to_image(torch.from_numpy(linear), "srgb"), torch.from_numpy(encoded), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_black_and_white_stay(gamma):
    ends = torch.tensor([0.0, 1.0])
    assert_close(to_light(ends, gamma), ends)
    assert_close(to_image(ends, gamma), ends)


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


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("shape", [(3, 5, 3), (4, 6, 3)])
def test_levels_are_averaged_alike(gamma, shape):
    levels = [np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed in range(7)]
    levels[0][0], levels[1][0] = 0, 0
    for frame in levels:
        frame[1, 0], frame[1, 1] = 0, 255
    frames = torch.from_numpy(np.stack(levels)).movedim(-1, 1) / 255
    found = torch.from_numpy(average_levels(levels, gamma)).movedim(-1, 0)
    assert_close(found, average_frames(frames, gamma), atol=1e-6, rtol=0)
    # Windows are cut out, not copied.
    cut = average_levels([frame[:, 1:] for frame in levels], gamma)
    assert_close(torch.from_numpy(cut).movedim(-1, 0), found[..., 1:], atol=1e-6, rtol=0)


# Simulated motion


def test_shapes_and_range():
    options = replace(STRAIGHT, turning=0.5, sub_frames=3)
    found = simulate(photos(options, b=3, k=2), SIZE, options, generator())
    assert found.blurry.shape == (3, 3, *SIZE)
    assert found.frames.shape == (3, 7, 3, *SIZE)
    assert found.paths.shape == (3, 2, 2)
    for images in (found.blurry, found.frames):
        assert images.min() >= 0
        assert images.max() <= 1 + 1e-6


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("k", [1, 3])
def test_blurry_image_is_the_average_of_the_frames(gamma, k):
    options = replace(STRAIGHT, turning=0.5, gammas=((gamma, 1.0),))
    found = simulate(photos(options, k=k), SIZE, options, generator())
    assert_close(found.blurry, average_frames(found.frames, gamma), atol=1e-6, rtol=0)
    assert (found.frames[:, 0] - found.frames[:, 6]).abs().max() > 0.05


def test_gamma_is_drawn_for_each_sample():
    options = replace(STRAIGHT, gammas=((1.0, 0.5), (2.2, 0.5)))
    found = simulate(photos(options, b=16), SIZE, options, generator())
    fits = [
        (found.blurry - average_frames(found.frames, g)).abs().amax(dim=(1, 2, 3)) < 1e-6
        for g in (1.0, 2.2)
    ]
    assert (fits[0] | fits[1]).all()
    assert all(3 <= fit.sum() <= 13 for fit in fits)


def test_more_instants_change_the_average_a_little_and_the_frames_not_at_all():
    options = replace(STRAIGHT, turning=0.5)
    sources = photos(options, k=2)
    few, many, most = (
        simulate(sources, SIZE, replace(options, sub_frames=n), generator()) for n in (1, 5, 15)
    )
    assert_close(many.frames, few.frames, atol=1e-4, rtol=0)
    gap = (most.blurry - many.blurry).abs().mean()
    assert gap < 0.5 * (most.blurry - few.blurry).abs().mean()
    assert gap < 0.01


def test_what_stands_still_is_sharp():
    options = replace(STRAIGHT, still=1.0)
    found = simulate(photos(options, k=2), SIZE, options, generator())
    assert torch.equal(found.frames, found.frames[:, :1].expand_as(found.frames))
    assert_close(found.blurry, found.frames[:, 3], atol=1e-5, rtol=0)
    assert not found.paths.any()


def test_canonical_order_moves_every_layer_to_the_right():
    options = replace(STRAIGHT, max_path=24.0, order="canonical")
    found = simulate(photos(options, b=64, k=3, size=(4, 4)), (4, 4), options, generator())
    assert (found.paths[..., 0] >= 0).all()
    downwards = (found.paths[..., 1] > 0).float().mean()
    assert 0.3 < downwards < 0.7


def test_random_order_goes_both_ways():
    options = replace(STRAIGHT, max_path=24.0, order="random")
    found = simulate(photos(options, b=128, k=2, size=(4, 4)), (4, 4), options, generator())
    rightwards = (found.paths[..., 0] > 0).float().mean()
    assert 0.35 < rightwards < 0.65


@pytest.mark.parametrize("order", ["canonical", "random"])
def test_content_follows_the_path(order):
    options = replace(STRAIGHT, order=order, path_power=0.0)
    found = simulate(dot(options, b=16), SIZE, options, generator())
    x, y = centroids(found.frames)
    moved = torch.stack([x[:, 6] - x[:, 0], y[:, 6] - y[:, 0]], dim=-1)
    assert_close(moved, found.paths[:, 0], atol=0.1, rtol=0.02)
    if order == "canonical":
        assert (moved[:, 0] >= -0.1).all()
        assert moved[:, 0].max() > 2
    else:
        assert moved[:, 0].min() < -1 < 1 < moved[:, 0].max()


def test_paths_are_no_longer_than_asked_for():
    options = replace(STRAIGHT, path_power=0.0)  # all as long as they may be
    found = simulate(photos(options, b=64, k=2, size=(4, 4)), (4, 4), options, generator())
    assert found.paths.norm(dim=-1).max() <= 1.2 * options.max_path  # the tremor comes on top
    assert found.paths.norm(dim=-1).max() >= 0.8 * options.max_path


def test_what_only_turns_turns_clockwise():
    top = simulate(dot(SPINNING, down=-8, b=8), SIZE, SPINNING, generator())
    x, _ = centroids(top.frames)
    assert forward(x[:, 6] - x[:, 0])
    right = simulate(dot(SPINNING, right=8, b=8), SIZE, SPINNING, generator())
    _, y = centroids(right.frames)
    assert forward(y[:, 6] - y[:, 0])


def test_what_only_zooms_grows():
    options = replace(SPINNING, max_turn=0.0, max_zoom=0.4)
    found = simulate(dot(options, right=8, b=8), SIZE, options, generator())
    x, y = centroids(found.frames)
    assert forward(x[:, 6] - x[:, 0])
    assert y.abs().max() < 0.1


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_no_border_enters(size):
    options = replace(STRAIGHT, path_power=0.0, turning=1.0, max_turn=10.0, max_zoom=0.1)
    spare = 2 * margin(size, options)
    white = torch.zeros(64, 1, 3, size[0] + spare, size[1] + spare)
    white[..., 1:-1, 1:-1] = 1  # one pixel to spare all around
    found = simulate(white, size, options, generator())
    assert_close(found.frames, torch.ones_like(found.frames))
    assert_close(found.blurry, torch.ones_like(found.blurry))


def test_layers_of_one_colour_give_that_colour():
    options = replace(STRAIGHT, turning=0.5, sub_frames=3)
    sources = torch.full_like(photos(options, k=3), 0.3)
    found = simulate(sources, SIZE, options, generator())
    assert_close(found.frames, torch.full_like(found.frames, 0.3))
    assert_close(found.blurry, torch.full_like(found.blurry, 0.3))


def test_layers_in_front_cover_those_behind():
    options = replace(STRAIGHT, still=1.0)
    sources = photos(options, b=32, k=2)
    sources[:, 0], sources[:, 1] = 0, 1
    found = simulate(sources, SIZE, options, generator())
    cover = found.frames[:, 3].mean(dim=(1, 2, 3))
    assert 0.1 < cover.mean() < 0.9
    assert (cover == 0).any()  # some samples have the background only


def test_larger_photos_are_rendered_smaller():
    options = replace(STRAIGHT, still=1.0)
    side = side_for(SIZE, options)
    column = torch.arange(2 * side) / (2 * side)
    ramp = column.expand(1, 1, 3, 2 * side, 2 * side).contiguous()
    frame = simulate(ramp, SIZE, options, generator()).frames[0, 0, 0]
    assert_close(frame[:, 1:] - frame[:, :-1], torch.full((24, 31), 1 / side), atol=1e-5, rtol=0)


def test_the_seed_decides():
    options = replace(STRAIGHT, turning=0.5)
    sources = photos(options, k=2)
    first, again = (simulate(sources, SIZE, options, generator(5)) for _ in range(2))
    other = simulate(sources, SIZE, options, generator(6))
    assert torch.equal(first.blurry, again.blurry)
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.paths, again.paths)
    assert not torch.equal(first.blurry, other.blurry)


@pytest.mark.parametrize("missing", [(1, 0), (0, 1)])
def test_too_small_photos(missing):
    rim = 2 * margin(SIZE, STRAIGHT)
    rows, columns = SIZE[0] + rim, SIZE[1] + rim
    simulate(torch.rand(1, 1, 3, rows, columns), SIZE, STRAIGHT, generator())
    sources = torch.rand(1, 1, 3, rows - missing[0], columns - missing[1])
    with pytest.raises(OptionError, match=f"too small.* need {columns}x{rows} px"):
        simulate(sources, SIZE, STRAIGHT, generator())


@pytest.mark.parametrize("count", [0, 2, 4])
def test_an_even_number_of_instants_has_no_middle(count):
    options = replace(STRAIGHT, sub_frames=count)
    with pytest.raises(OptionError, match="odd"):
        simulate(photos(options), SIZE, options, generator())


# The canonical direction


def sign(x=0.0, y=0.0, angle=0.0, log_zoom=0.0):
    values = torch.tensor([float(x), float(y)]), torch.tensor(angle), torch.tensor(log_zoom)
    return canonical_sign(*values, (100, 100)).item()


def test_canonical_direction():
    assert sign(x=3) == sign(x=0.1, y=-5) == sign(x=3, y=5) == 1
    assert sign(x=-3) == sign(x=-0.1, y=5) == -1
    assert sign(y=4) == 1
    assert sign(y=-4) == -1
    assert sign(angle=0.02) == 1
    assert sign(angle=-0.02) == -1
    assert sign(log_zoom=0.02) == 1
    assert sign(log_zoom=-0.02) == -1
    assert sign(angle=0.03, log_zoom=-0.02) == 1  # the stronger of the two
    assert sign(angle=-0.02, log_zoom=0.03) == 1


def test_the_shift_decides_unless_the_turn_moves_more():
    assert sign(x=-5, angle=0.01) == -1
    assert sign(x=-0.1, angle=0.05) == 1
    assert sign(x=0.1, angle=-0.05) == -1


def test_canonical_direction_is_reversed_with_time():
    shift, angle, log_zoom = torch.randn(200, 2), torch.randn(200) / 30, torch.randn(200) / 30
    size = (60, 80)
    forth = canonical_sign(shift, angle, log_zoom, size)
    back = canonical_sign(-shift, -angle, -log_zoom, size)
    assert torch.equal(back, -forth)
    assert set(forth.tolist()) == {1.0, -1.0}


def test_margin_grows_with_the_motion():
    small = margin(SIZE, STRAIGHT)
    assert small > STRAIGHT.max_path / 2
    assert margin(SIZE, replace(STRAIGHT, max_path=16.0)) > small
    wide = replace(STRAIGHT, max_turn=90.0)
    assert margin(SIZE, wide) - small >= math.hypot(*SIZE) / 4
