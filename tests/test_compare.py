"""Clips of a photo against its frames, to be posted."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageSequence

from blurvid import media
from blurvid.cli import main
from blurvid.config import VIDEO_FORMATS, ClipOptions
from blurvid.errors import OptionError
from blurvid.media import compare
from blurvid.media.compare import Comparison, edge_at

BLUE, RED = (0, 0, 255), (255, 0, 0)


def pictures(height=60, width=90, side=1080, **changes):
    """A blue photo against red frames, the last of which has a green corner at the right."""
    blurry = np.full((height, width, 3), BLUE, np.uint8)
    frames = np.full((7, height, width, 3), RED, np.uint8)
    frames[6, -10:, -10:] = (0, 255, 0)
    options = ClipOptions(caption=False, **changes)
    return list(Comparison(blurry, frames, range(7), options, side))


def blue_share(picture):
    return float((picture == BLUE).all(-1).mean())


def test_a_wipe_goes_to_and_fro():
    shown = pictures(compare="wipe")
    shares = [blue_share(picture) for picture in shown]
    assert len(shown) == round(4.9 * 30)  # seven rounds of 0.7 s
    assert shares[0] == 1
    assert min(shares) == 0
    assert shares[-1] == pytest.approx(1, abs=0.05)  # it ends where it begins
    assert np.abs(np.diff(shares)).max() < 0.06
    assert edge_at(0.3) == pytest.approx(0.5)
    half = shown[next(i for i, share in enumerate(shares) if share < 0.5)]
    assert (half[0, 0] == BLUE).all() and (half[0, -1] == RED).all()


@pytest.mark.parametrize(("shape", "size"), [((60, 90), (124, 90)), ((90, 60), (90, 124))])
def test_side_by_side_is_as_square_as_it_can_be(shape, size):
    shown = pictures(*shape, compare="side")
    assert {picture.shape for picture in shown} == {(*size, 3)}
    assert (shown[0][2, 2] == BLUE).all() and (shown[0][-20, -20] == RED).all()


def test_flicker_takes_turns():
    shares = [blue_share(picture) for picture in pictures(compare="flicker")]
    turns = [share for i, share in enumerate(shares) if i == 0 or share != shares[i - 1]]
    assert turns == [1, 0, 1, 0]
    assert shares.count(1) == pytest.approx(shares.count(0), abs=2)


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (600, 1900)])
def test_side_by_side_can_be_a_square(shape):
    shown = pictures(*shape, compare="side", square=True)[0]
    assert shown.shape == (min(shape), min(shape), 3)
    assert (shown[2, 2] == BLUE).all() and (shown[-20, -20] == RED).all()


def test_a_square_is_of_where_most_moves():
    shown = pictures(compare="flicker", square=True)
    assert shown[0].shape == (60, 60, 3)
    assert any((picture[-1, -1] == (0, 255, 0)).all() for picture in shown)


def test_large_photos_are_made_smaller_and_labelled():
    blurry, *frames = np.zeros((3, 300, 400, 3), np.uint8)
    options = ClipOptions(compare="wipe", caption=True)
    first = Comparison(blurry, frames, range(2), options, side=204)[0]
    assert first.shape == (150, 200, 3)
    assert (first[-40:, :100].max(-1) > 200).sum() > 20  # white letters at the lower left
    assert first[:, 100:].max() == 0


def write(path, **changes):
    photo = media.Photo(torch.rand(3, 64, 96), name="a.png")
    frames = torch.rand(7, 3, 64, 96)
    options = ClipOptions(**changes)
    return media.write_frames(frames, path, photo=photo, options=options)


def test_comparisons_as_files(tmp_path):
    assert write(tmp_path / "a.gif", compare="side") == [tmp_path / "a.gif"]
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (96, 132)
        assert sum(1 for _ in ImageSequence.Iterator(gif)) > 20
    write(tmp_path / "a.webp", compare="flicker")
    with Image.open(tmp_path / "a.webp") as webp:
        assert webp.size == (96, 64)
        assert webp.n_frames > 1
    for kind in ("mp4", "webm"):
        write(tmp_path / f"a.{kind}", compare="wipe", square=True)
        assert media.video_info(tmp_path / f"a.{kind}").size == (64, 64)


@pytest.mark.parametrize("kind", VIDEO_FORMATS)
def test_a_clip_that_is_too_large_is_made_again(tmp_path, monkeypatch, kind):
    write(tmp_path / f"whole.{kind}", compare="flicker", square=True)
    whole = (tmp_path / f"whole.{kind}").stat().st_size
    monkeypatch.setattr(compare, "LARGEST", whole // 2)
    monkeypatch.setattr(compare, "_ANIMATED_SIDE", 68)
    write(tmp_path / f"small.{kind}", compare="flicker", square=True)
    assert (tmp_path / f"small.{kind}").stat().st_size <= whole // 2


def test_what_is_no_comparison(tmp_path):
    for name, changes in [("a.html", {"compare": "wipe"}), ("a.gif", {"compare": "blink"})]:
        with pytest.raises(OptionError, match=r"compar(ison|e must be)"):
            write(tmp_path / name, **changes)
    with pytest.raises(ValueError, match="needs the photo"):
        options = ClipOptions(compare="wipe")
        media.write_frames(torch.rand(7, 3, 8, 8), tmp_path / "a.gif", options=options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_them():
    text = CliRunner().invoke(main, ["extract", "--help-all"]).stdout
    assert "--compare [wipe|side|flicker]" in text


def test_the_busiest_region_is_where_the_ends_differ_most():
    rng = np.random.default_rng(0)
    first, last = rng.integers(0, 256, (2, 23, 31, 3), dtype=np.uint8)
    difference = np.abs(first.astype(int) - last).sum(-1)
    for height, width in ((1, 1), (5, 9), (23, 4), (7, 31), (23, 31)):
        sums = {
            (row, column): difference[row : row + height, column : column + width].sum()
            for row in range(23 - height + 1)
            for column in range(31 - width + 1)
        }
        found = compare.busiest(first, last, height, width)
        assert sums[found] == max(sums.values())


def test_where_nothing_moves_the_middle_is_shown():
    still = np.full((21, 31, 3), 9, np.uint8)
    assert compare.busiest(still, still, 5, 7) == (8, 12)
