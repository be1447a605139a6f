"""What the simulated camera does besides averaging."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.testing import assert_close

from blurvid.bounds import check
from blurvid.errors import OptionError
from blurvid.exposure import average_frames, light_of
from blurvid.lab.camera import IDEAL, defocus, develop, finish, jpeg, light_up, shutter
from blurvid.lab.options import CameraOptions, MotionOptions
from blurvid.lab.synth import simulate

MOTION = MotionOptions(max_path=8, gammas=(2.2, 2.2), still=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textured(*shape, seed=0):
    coarse = torch.rand(*shape[:-2], shape[-2] // 4, shape[-1] // 4, generator=generator(seed))
    flat = coarse.reshape(-1, 1, *coarse.shape[-2:])
    fine = torch.nn.functional.interpolate(flat, shape[-2:], mode="bicubic").clamp(0, 1)
    return fine.reshape(shape)


def expose(camera, motion=MOTION, seed=0, sources=None):
    sources = textured(6, 2, 3, 64, 64, seed=seed) if sources is None else sources
    return simulate(sources, motion, camera, generator(seed))


def test_an_open_shutter_counts_every_instant():
    weight = shutter(3, 5, IDEAL, generator())
    assert_close(weight, torch.full((3, 35), 1 / 35))


def test_a_shuttered_camera_averages_exactly_the_seven_frames():
    rendered = expose(replace(IDEAL, shuttered=1.0))
    assert_close(average_frames(rendered.frames, 2.2), rendered.blurry, atol=1e-3, rtol=0)
    open_all_the_time = expose(IDEAL)
    assert_close(open_all_the_time.frames, rendered.frames)  # the same motion
    assert not torch.allclose(open_all_the_time.blurry, rendered.blurry, atol=1e-3)


def test_only_a_share_is_shuttered():
    weight = shutter(400, 3, replace(IDEAL, shuttered=0.3), generator())
    assert (weight[:, 0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.08)


def test_nothing_moves_in_still_samples():
    rendered = expose(IDEAL, replace(MOTION, still=1.0))
    assert_close(
        rendered.frames, rendered.blurry.unsqueeze(1).expand_as(rendered.frames), atol=1e-4, rtol=0
    )


def test_lights_leave_longer_trails_than_the_photo_shows():
    sources = textured(6, 2, 3, 64, 64) * 0.5
    sources[..., 28:32, 28:32] = 1.0
    plain = expose(IDEAL, sources=sources)
    lit = expose(replace(IDEAL, lights=1.0, gain=20.0), sources=sources)
    assert lit.frames.max() <= 1 and lit.blurry.max() <= 1
    assert (lit.blurry >= plain.blurry - 1e-6).all()
    assert (lit.blurry > 0.99).sum() > (plain.blurry > 0.99).sum()
    # a saturated average is brighter than the average of what the frames show
    shown = average_frames(lit.frames, 2.2)
    assert (lit.blurry - shown).max() > 0.1


def test_frames_of_lights_are_what_the_sensor_shows_in_an_instant():
    rendered = expose(replace(IDEAL, lights=1.0, shuttered=1.0))
    unsaturated = (rendered.frames < 0.999).all(dim=1)
    assert unsaturated.any() and not unsaturated.all()
    exact = average_frames(rendered.frames, 2.2)
    assert_close(exact[unsaturated], rendered.blurry[unsaturated], atol=1e-3, rtol=0)


def test_defocus_is_a_gaussian_and_spares_sigma_zero():
    images = textured(3, 3, 40, 48)
    sigma = torch.tensor([0.0, 0.7, 1.5])
    out = defocus(images, sigma)
    assert_close(out[0], images[0])
    for image, found, width in zip(images[1:], out[1:], (0.7, 1.5), strict=True):
        reach = 5 / width  # ours reaches 3 widths of the largest
        expected = gaussian_filter(image.numpy(), (0, width, width), mode="nearest", truncate=reach)
        assert np.abs(found.numpy() - expected).max() < 2e-3


def test_defocus_softens_frames_and_blurry_image_alike():
    sharp, soft = expose(IDEAL), expose(replace(IDEAL, defocused=1.0, max_defocus=3.0))

    def detail(images):
        return images.diff(dim=-1).square().mean()

    assert detail(soft.frames) < 0.9 * detail(sharp.frames)
    assert detail(soft.blurry) < detail(sharp.blurry)


@pytest.mark.parametrize("quality", [10, 49, 50, 75, 95, 100])
def test_jpeg_is_what_libjpeg_makes_of_a_photo(quality):
    pixels = (textured(3, 48, 64).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2)
    theirs = np.asarray(Image.open(file))
    original = torch.tensor(pixels).permute(2, 0, 1).float() / 255
    ours = jpeg(original[None], torch.tensor([float(quality)]))[0].permute(1, 2, 0) * 255
    assert np.array_equal(ours.round().byte().numpy(), theirs)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(1, 100),
    st.integers(0, 15), st.integers(0, 15),
)  # fmt: skip
def test_jpeg_takes_any_size_quality_and_grid(height, width, quality, row, column):
    images = textured(2, 3, 64, 64)[..., :height, :width]
    out = jpeg(images, torch.tensor([quality, 100.0]), (row, column))
    assert out.shape == images.shape
    assert out.min() >= 0 and out.max() <= 1
    gray = torch.full_like(images, 0.5)
    assert (jpeg(gray, torch.tensor([quality, 100.0]), (row, column)) - gray).abs().max() < 0.04


def test_each_image_has_a_quality_of_its_own():
    images = textured(1, 3, 32, 32).expand(2, -1, -1, -1)
    both = jpeg(images, torch.tensor([20.0, 95.0]))
    for image, quality in zip(both, (20.0, 95.0), strict=True):
        assert_close(image, jpeg(images[:1], torch.tensor([quality]))[0])


def developed(y, camera):
    return develop(y, y[:, None], camera, generator())[0]


@pytest.mark.parametrize("kept", [False, True])
def test_frames_keep_the_noise_of_their_photo_or_have_none(kept):
    x = textured(2, 7, 3, 32, 32) * 0.5 + 0.25  # nothing is clipped
    camera = replace(IDEAL, noise=(0.01, 0.02), noise_kept=kept)
    y, frames = develop(x[:, 3], x, camera, generator())
    assert not torch.equal(y, x[:, 3])
    assert_close(frames - x, (y - x[:, 3])[:, None].expand_as(x) * kept)


def test_an_ideal_camera_changes_nothing():
    y = textured(4, 3, 32, 32)
    assert torch.equal(developed(y, IDEAL), y)


def test_development_gives_each_photo_its_own_noise_and_compresses_a_share():
    y = torch.full((200, 3, 16, 16), 0.5)
    spread = developed(y, replace(IDEAL, noise=(0.0, 0.02))).sub(y).std(dim=(1, 2, 3))
    assert spread.min() < 0.003 and spread.max() > 0.017
    assert spread.mean().item() == pytest.approx(0.01, abs=0.0015)
    image = textured(1, 3, 16, 16).expand(300, -1, -1, -1)
    out = developed(image, replace(IDEAL, compressed=0.25, quality=(30.0, 60.0)))
    changed = (out != image).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("what", ["sharpened", "toned"])
def test_a_camera_finishes_photo_and_frames_alike(what):
    x = textured(8, 7, 3, 32, 32)
    y, other = finish(x[:, 3], x, replace(IDEAL, **{what: 0.5}), generator())
    assert torch.equal(y, other[:, 3])
    changed = (y != x[:, 3]).flatten(1).any(1)
    assert 0 < changed.sum() < 8
    flat = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
    found, _ = finish(flat, flat[:, None], replace(IDEAL, **{what: 1.0}), generator())
    assert_close(found, flat)  # black and white stay
    before, after = x[:, 3][changed].flatten(1), y[changed].flatten(1)
    if what == "toned":
        assert (after.gather(1, before.argsort(1)).diff() > -1e-6).all()  # a rising curve
    else:
        assert (after.std(1) > before.std(1)).all()


def test_the_camera_follows_its_generator_alone():
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(expose(CameraOptions(), seed=5))
    assert torch.equal(results[0].blurry, results[1].blurry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shuttered": 1.5}, "shuttered"),
        ({"compressed": float("nan")}, "compressed"),
        ({"noise": (0.2, 0.1)}, "noise"),
        ({"noise": (0.0, float("inf"))}, "noise"),
        ({"quality": (0.0, 90.0)}, "quality"),
        ({"gain": -1.0}, "gain"),
    ],
)
def test_impossible_cameras_are_refused(change, message):
    with pytest.raises(OptionError, match=message):
        check(replace(IDEAL, **change))


def test_light_is_what_saturates_not_the_encoded_value():
    """Half of the exposure on a light of four times white is twice white, hence white."""
    frames = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 1, 1)
    light = light_up(frames, light_of(frames, 2.2), torch.tensor([3.0]))
    assert light.mean(dim=1).clamp(max=1).unique().tolist() == [1.0]


def test_a_hand_that_shakes_leaves_the_middle_frame_where_the_picture_is_in_the_mean():
    shaky = replace(MOTION, shaken=1.0, covered=0.0, still=1.0, max_path=24)
    slope = torch.linspace(0, 1, 96)  # whose mean over shifts tells the mean shift, in both axes
    ramps = torch.stack([slope.expand(96, 96), slope[:, None].expand(96, 96), slope.expand(96, 96)])
    sources = ramps.expand(8, 2, 3, 96, 96)
    rendered = simulate(sources, shaky, IDEAL, generator(), gamma=1.0)
    rim = (96 - rendered.blurry.shape[-1]) // 2
    still = sources[:, 0, :, rim:-rim, rim:-rim]
    assert_close(rendered.blurry, still, atol=1e-4, rtol=0)
    assert_close(rendered.frames[:, 3], still, atol=1e-4, rtol=0)
    apart = (rendered.frames - still[:, None]).abs().mean((2, 3, 4)) * 95  # [px]
    assert (apart[:, [0, 6]].amax(1) > 0.3).all() and apart.max() < 12
    found = rendered.path[..., 0, 0]  # the nearest straight or bent path ends where frame 7 is
    shifted = (rendered.frames[:, 6] - still).mean((2, 3))[:, :2] * 95
    assert ((found[:, :2] + found[:, 2:]) * shifted).sum() > 0.5 * shifted.square().sum()


def test_only_some_shake_where_only_some_shall():
    shaky = replace(MOTION, shaken=0.5, covered=0.0, still=1.0)
    moves = expose(IDEAL, shaky, sources=textured(40, 2, 3, 32, 32)).path.abs().amax((1, 2, 3)) > 0
    assert 8 < moves.sum() < 32
