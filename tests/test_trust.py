"""How far frames can be believed: the number, the maps, the warnings."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blurvid import media
from blurvid.errors import InputError, OptionError, OutputError
from blurvid.exposure import average_frames
from blurvid.lab.camera import defocus
from blurvid.media.flow import FULL_ERROR, TrustMaps, colored, trust_picture
from blurvid.pipeline import Clip
from blurvid.pipeline.trust import CELLS, SOFT, assess, reblur_map, sharpness
from blurvid.recipe import Recipe, Source

HEIGHT, WIDTH = 96, 128


def scene(height=HEIGHT, width=WIDTH, seed=0):
    """A sharp picture: patches of colour with hard edges."""
    g = torch.Generator().manual_seed(seed)
    return (
        sum(
            F.interpolate(torch.rand(1, 3, n, n + 2, generator=g), (height, width), mode="nearest")[
                0
            ]
            for n in (4, 9, 19, 31)
        )
        / 4
    )


def moving(step, height=HEIGHT, width=WIDTH):
    """Frames of a picture that moves by so many whole pixels a frame, and their average."""
    wide = scene(height, width + 6 * step)
    frames = torch.stack([wide[..., i * step : i * step + width] for i in range(7)])
    return frames, average_frames(frames, 2.2)


def clip_of(frames, y):
    return Clip(frames, media.Photo(y, name="photo.png"), Recipe(Source("w", "direct")))


# the number and the warnings


def test_longer_motion_is_believed_less():
    found = [assess(*moving(step)) for step in (1, 2)]
    assert found[0].psnr > found[1].psnr
    assert [trust.reasons for trust in found] == [(), ()]
    assert found[0].motion == pytest.approx(6, abs=1)
    assert found[1].motion == pytest.approx(12, abs=2)


def test_frames_that_contradict_each_other_are_believed_less():
    frames, y = moving(1)
    sound = assess(frames, y)
    torn = frames.clone()
    torn[-1, :, :, WIDTH // 2 :] = torch.rand(3, HEIGHT, WIDTH // 2)
    broken = assess(torn, y)
    assert broken.psnr < sound.psnr - 2
    left, right = broken.error.chunk(2, dim=1)
    assert right.mean() > 2 * left.mean()


def test_the_reblur_map_tells_where_the_average_differs():
    frames, y = moving(1)
    y = y.clone()
    y[:, :32, :32] += 0.1
    found = reblur_map(frames, y)
    assert found[:4, :4].mean() == pytest.approx(0.1, rel=0.01)
    assert found[5:, 5:].max() < 1e-3


@pytest.mark.parametrize("gamma", [1.0, 2.2, "srgb"])
def test_the_reblur_map_knows_the_response_of_the_camera(gamma):
    frames, _ = moving(1)
    y = average_frames(frames, gamma)
    assert reblur_map(frames, y, gamma).max() < 1e-3


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_noise_that_nobody_sees_is_no_motion(level):
    noise = torch.randn(7, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    frames = (level + noise / 255 / 2).clamp(0, 1)

    found = assess(frames, torch.full((3, 64, 96), level))

    assert (found.motion, found.reasons) == (0, ("still",))


def test_a_photo_without_motion():
    y = scene()
    trust = assess(y.expand(7, -1, -1, -1), y)
    assert trust.reasons == ("still",)
    assert trust.warnings == ("no motion found; the frames are the photo, as good as unchanged",)


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (HEIGHT // 2, WIDTH)])
def test_defocus_is_not_motion(size):
    y = scene(*size)
    soft = defocus(y[None], torch.tensor([1.6]))[0]
    assert "defocus" in assess(soft.expand(7, -1, -1, -1), soft).reasons
    for frames, blurry in (moving(1, *size), moving(2, *size), (y.expand(7, -1, -1, -1), y)):
        assert "defocus" not in assess(frames, blurry).reasons
    assert sharpness(soft) < SOFT < sharpness(moving(2, *size)[1])
    assert sharpness(torch.full((3, 5, 7), 0.5)) == 1


def test_motion_beyond_what_was_trained():
    frames, y = moving(2)  # 12 px
    assert assess(frames, y).reasons == ()
    assert assess(frames, y, fixed=True).reasons == ("long",)  # it may have been shortened to this
    assert assess(frames, y, scale=0.5, fixed=True).reasons == ()
    (warning,) = assess(frames, y, scale=1.0, fixed=True).warnings
    assert warning.startswith("motion of about 1") and "beyond" in warning
    small = moving(2, 64, 96)  # no room for a smaller scale
    assert assess(*small, scale=1.0).reasons == ("long",)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_any_size_has_a_number(height, width):
    frames = torch.rand(7, 3, height, width, generator=torch.Generator().manual_seed(1))
    trust = assess(frames, frames.mean(0))
    assert 0 < trust.psnr < 100
    assert (
        trust.error.shape
        == reblur_map(frames, frames[0]).shape
        == (-(-height // 8), -(-width // 8))
    )
    json.dumps(trust.record(), allow_nan=False)


def test_large_photos_are_looked_at_in_parts(monkeypatch):
    frames, y = moving(1, 96, 200)
    whole = assess(frames, y)
    monkeypatch.setattr("blurvid.pipeline.trust.PIXELS_AT_ONCE", 1)  # a row of cells at a time
    strips = assess(frames, y)
    torch.testing.assert_close(strips.error, whole.error, rtol=0.1, atol=1e-4)
    assert strips.psnr == pytest.approx(whole.psnr, abs=0.1)
    assert max(assess(*moving(1, 16, 8 * CELLS + 100)).error.shape) <= CELLS


def test_a_single_frame_tells_nothing():
    with pytest.raises(InputError, match="single frame"):
        assess(scene()[None], scene())


# from Python, and files


def test_the_trust_of_a_clip():
    frames, y = moving(1)
    clip = clip_of(frames, y)
    assert clip.trust() is clip.trust()
    assert clip.trust().psnr == assess(frames, y).psnr
    fixed = dataclasses.replace(clip.recipe, scale=1.0)
    assert dataclasses.replace(clip_of(*moving(2)), recipe=fixed).trust().reasons == ("long",)


def test_files(tmp_path):
    frames, y = moving(1)
    clip = clip_of(frames, y)
    assert clip.save_beside("trust", tmp_path / "new/a.npy") == tmp_path / "new/a.npy"
    found = np.load(tmp_path / "new/a.npy")
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH, 2), np.float32)
    assert found[20, 50].tolist() == [
        clip.trust().error[2, 6].item(), clip.reblur_map[2, 6].item(),
    ]  # fmt: skip
    clip.save_beside("trust", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.height) == ("RGB", 2 * (HEIGHT + 60))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(OutputError, match="exists"):
        clip.save_beside("trust", tmp_path / "a.png")
    with pytest.raises(OptionError, match=r"trust is written as \.npy, \.png"):
        clip.save_beside("trust", tmp_path / "a.flo")
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_picture_is_lighter_where_more_is_wrong(tmp_path):
    error = torch.zeros(HEIGHT // 8, WIDTH // 8)
    error[:, 8:] = FULL_ERROR
    photo = media.Photo(torch.full((3, HEIGHT, WIDTH), 0.5))
    page = np.asarray(trust_picture(TrustMaps(error, torch.zeros_like(error)), photo))
    bright = page[:HEIGHT].astype(int).sum(axis=2)
    assert bright[:, :60].max() < 0.5 * 3 * 128 < bright[:, 80:WIDTH].min()
    assert (page[HEIGHT + 60 : 2 * HEIGHT + 60, :WIDTH] == page[5, 5]).all()
    assert colored(torch.tensor([[0.0, 9.0]]), 1.0)[0, :, 3].tolist() == [0, 204]
