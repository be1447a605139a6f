"""The motion of a clip: as numbers, as files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blurvid import flow, media
from blurvid.errors import OptionError, OutputError
from blurvid.media.flow import flow_colors
from blurvid.pipeline import Clip
from blurvid.recipe import Recipe, Source

HEIGHT, WIDTH = 48, 64


def moving(dx=1.5, dy=0.5, height=HEIGHT, width=WIDTH):
    """Frames of a smooth pattern that moves by (dx, dy) px a frame."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = []
    for index in range(7):
        u, v = x - index * dx, y - index * dy
        wave = 0.5 + 0.2 * torch.sin(0.3 * u + 0.1 * v) + 0.2 * torch.cos(0.35 * v - 0.12 * u)
        frames.append(wave.expand(3, -1, -1))
    return torch.stack(frames)


def clip_of(frames):
    photo = media.Photo(frames.mean(0), name="photo.png")
    return Clip(frames, photo, Recipe(Source("w", "direct")))


def read_flo(path):
    """The format as vision.middlebury.edu/flow describes it."""
    data = Path(path).read_bytes()
    assert np.frombuffer(data[:4], "<f4")[0] == 202021.25
    width, height = np.frombuffer(data[4:12], "<i4")
    assert len(data) == 12 + 8 * width * height
    return np.frombuffer(data[12:], "<f4").reshape(height, width, 2)


# numbers


def test_the_motion_of_a_clip():
    clip = clip_of(moving())
    found = clip.flow()
    assert (found.shape, found.dtype) == ((HEIGHT, WIDTH, 2), np.float32)
    middle = found[10:-10, 10:-14].reshape(-1, 2)
    assert np.abs(middle - (9, 3)).max(axis=1).mean() < 0.3
    motion = clip.motion()
    assert (motion.dx, motion.dy) == pytest.approx((9, 3), abs=0.2)
    assert motion.median == pytest.approx(90**0.5, abs=0.3)
    assert motion.median <= motion.p95 <= motion.longest
    assert motion.longest == pytest.approx(np.linalg.norm(found, axis=-1).max(), abs=1e-4)


def test_reversed_time_is_measured_from_the_last_frame():
    clip = clip_of(moving())
    np.testing.assert_allclose(clip.flow(True), clip_of(clip.tensor.flip(0)).flow(), atol=1e-4)
    assert clip.motion(True).dx == pytest.approx(-9, abs=0.3)


def test_dominant_is_what_most_of_the_moving_part_does_not_the_still_background():
    vectors = torch.zeros(2, 40, 60)
    vectors[:, 5:25, 10:30] = torch.tensor([-6.0, 2.0]).view(2, 1, 1)
    vectors[:, 30:35, 40:50] = torch.tensor([7.0, 7.0]).view(2, 1, 1)
    motion = flow.Field(vectors, (40, 60)).motion
    assert (motion.dx, motion.dy) == pytest.approx((-6, 2), abs=0.05)
    assert (motion.median, motion.longest) == pytest.approx((0, 98**0.5))


def test_what_stands_still_has_no_motion():
    motion = clip_of(torch.full((7, 3, 20, 30), 0.4)).motion()
    assert (motion.dx, motion.dy) == (0, 0)
    assert motion.longest < 0.01


def test_large_frames_are_measured_smaller(monkeypatch):
    frames = moving(0.5, 0.25)
    large = torch.nn.functional.interpolate(frames, scale_factor=3, mode="bicubic")
    monkeypatch.setattr("blurvid.flow.field.FLOW_SIDE", WIDTH)
    field = flow.measure(large)
    assert field.vectors.shape == (2, HEIGHT, WIDTH)
    found = media.flow_array(field)
    assert found.shape == (3 * HEIGHT, 3 * WIDTH, 2)
    assert found[40:-40, 40:-40].mean((0, 1)) == pytest.approx((9, 4.5), abs=0.3)


@settings(deadline=None, max_examples=15)
@given(
    small=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    cuts=st.lists(st.integers(0, 23), max_size=3),
)
def test_rows_at_full_size_are_those_of_the_whole(small, size, cuts):
    vectors = torch.randn(2, *small, generator=torch.Generator().manual_seed(0))
    field = flow.Field(vectors, size)
    whole = torch.nn.functional.interpolate(vectors[None], size, mode="bilinear")[0]
    edges = sorted({0, size[0], *(min(cut, size[0]) for cut in cuts)})
    pieces = [field.rows(a, b) for a, b in pairwise(edges)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-5)


# files


@pytest.mark.parametrize("at_once", [1, 100, 1 << 18])
def test_files_hold_the_motion(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("blurvid.media.flow._AT_ONCE", at_once)
    clip = clip_of(moving(height=20, width=30))
    assert clip.save_beside("flow", tmp_path / "new/a.flo") == tmp_path / "new/a.flo"
    clip.save_beside("flow", tmp_path / "a.npy")

    np.testing.assert_array_equal(read_flo(tmp_path / "new/a.flo"), clip.flow())
    loaded = np.load(tmp_path / "a.npy")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, clip.flow())


def test_a_picture_in_colours_with_a_legend(tmp_path):
    vectors = torch.zeros(2, 50, 300)
    vectors[0, :, 100:150] = 12.0
    vectors[1, :, 150:] = 6.0
    media.save_flow(flow.Field(vectors, (50, 300)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        page = np.asarray(image)
    assert page.shape == (50 + 120, 300, 3)
    assert (page[:50, :100] == 255).all()
    assert (page[:50, 100:150] == (255, 0, 0)).all()  # to the right: red
    assert page[25, 175].tolist() == pytest.approx([255, 242, 128], abs=2)  # down: pale yellow
    legend = page[50:, :120]
    assert legend[60, 105].tolist() == pytest.approx([255, 25, 25], abs=8)
    assert legend[60, 60].tolist() == pytest.approx([255, 255, 255], abs=6)
    assert (page[50:, 120:] < 128).any()  # what the rim means


def test_colours_are_those_of_the_published_code():
    # From Middlebury's colorcode: right red, left cyan, up and down between the hues.
    vectors = np.array([[(1, 0), (-1, 0), (0, 0), (2, 0)]], float)
    assert flow_colors(vectors).tolist() == [
        [[255, 0, 0], [0, 209, 255], [255, 255, 255], [191, 0, 0]]
    ]


def test_motion_files_are_refused_and_kept_as_other_files(tmp_path):
    clip = clip_of(moving(height=16, width=16))
    (tmp_path / "mine.flo").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        clip.save_beside("flow", tmp_path / "mine.flo")
    with pytest.raises(OptionError, match=r"a\.mp4: .*\.flo, \.npy, \.png"):
        clip.save_beside("flow", tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.flo"]
    clip.save_beside("flow", tmp_path / "mine.flo", overwrite=True)
    assert read_flo(tmp_path / "mine.flo").shape == (16, 16, 2)
