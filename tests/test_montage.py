"""Sheets with a photo, its frames and crops of where most moves."""

import numpy as np
import pytest
import torch
from PIL import Image

from blurvid import media
from blurvid.errors import OptionError, OutputError
from blurvid.media import montage
from blurvid.pipeline import Clip
from blurvid.recipe import Recipe, Source

GAP = 16
HEAD = 16 + 28 + 16
"""Rows above the first image's label."""


def moving(height=96, width=128, top=60, left=20):
    """Grey frames in which a small bright square moves to the right, and the blur of them."""
    frames = torch.full((7, 3, height, width), 0.3)
    for index, frame in enumerate(frames):
        frame[:, top : top + 8, left + 4 * index : left + 4 * index + 8] = 1.0
    return frames, media.Photo(frames.mean(0), name="photo.png")


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


# where most moves


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
        found = montage.busiest(first, last, height, width)
        assert sums[found] == max(sums.values())


def test_where_nothing_moves_the_middle_is_shown():
    still = np.full((21, 31, 3), 9, np.uint8)
    assert montage.busiest(still, still, 5, 7) == (8, 12)


# the sheet


def test_a_sheet_shows_photo_frames_and_crops(tmp_path):
    frames, photo = moving()

    target = tmp_path / "sheet.png"
    media.save_montage(frames, target, photo)

    sheet = read(target)
    assert sheet.shape[1] == 4 * 480 + 5 * GAP
    # Crops are 32 px wide (a quarter of the photo would be 24), enlarged 15 times to 480.
    row, column = montage.busiest(*media.to_uint8(frames[[0, 6]]), 32, 32)
    assert 60 - 24 <= row <= 60
    cell = (sheet.shape[0] - HEAD - 2 * GAP) // 2
    for index, image in enumerate([photo.pixels, *frames]):
        whole = Image.fromarray(media.to_uint8(image))
        crop = whole.crop((column, row, column + 32, row + 32))
        crop = crop.resize((480, 480), Image.Resampling.BICUBIC)
        left = GAP + index % 4 * (480 + GAP)
        bottom = HEAD + (index // 4) * (cell + GAP) + cell - 8
        assert np.abs(sheet[bottom - 480 : bottom, left : left + 480] - np.asarray(crop)).max() <= 1
        small = np.asarray(whole.resize((480, 360), Image.Resampling.LANCZOS))
        found = sheet[bottom - 480 - 8 - 360 : bottom - 480 - 8, left : left + 480]
        other = (found != small).any(-1)
        marked = (found == montage._MARK).all(-1)
        assert marked.any()
        rows, columns = marked.nonzero()
        assert (rows.min(), columns.min()) == (round(row * 3.75), round(column * 3.75))
        assert other.sum() < 4 * 130 * 6  # nothing but the mark is drawn over the photo


def test_labels_are_written(tmp_path):
    frames, photo = moving()
    page = montage.montage(media.to_uint8(photo.pixels), list(media.to_uint8(frames)))
    page = np.asarray(page)
    # The headline and, below it, one label for each of the four columns.
    dark = (page < 128).all(-1)
    assert dark[16:44].sum() > 500
    for column in range(4):
        left = 16 + column * 496
        assert dark[60:88, left : left + 480].sum() > 50
    assert (page[:16] == 255).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (20, 31), (1000, 400)])
def test_photos_of_any_shape(tmp_path, height, width):
    frames = torch.full((7, 3, height, width), 0.5)
    media.save_montage(frames, tmp_path / "a.png", media.Photo(frames[3]))
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 2000
        assert image.height < 2300


def test_a_photo_of_many_pixels_is_cropped_and_not_enlarged():
    frames = [np.zeros((1960, 2100, 3), np.uint8) for _ in range(2)]
    frames[1][1500:1520, 2000:2020] = 255
    top, left = montage.busiest(frames[0], frames[1], 480, 480)
    page = np.asarray(montage.montage(frames[0], frames))
    # the white square is on the sheet with as many pixels as in the photo
    crop = page[-16 - 8 - 480 : -16 - 8, 16 + 2 * 496 : 16 + 2 * 496 + 480]
    assert (crop == 255).all(-1).sum() == 400
    assert (crop[1500 - top : 1520 - top, 2000 - left : 2020 - left] == 255).all()


def test_sheets_are_refused_and_kept_as_other_files(tmp_path):
    frames, photo = moving()
    clip = Clip(frames, photo, Recipe(Source("w", "direct")))
    (tmp_path / "mine.png").write_text("mine")
    for name, message in (
        ("mine.png", "exists"),
        ("sheet.jpg", r"sheet\.jpg: .*\.png"),
        ("mine.png/a.png", "file, not a folder"),
    ):
        with pytest.raises((OutputError, OptionError), match=message):
            clip.save_beside("montage", tmp_path / name)
    with pytest.raises(ValueError, match="shape"):
        media.save_montage(frames[..., 1:], tmp_path / "a.png", photo)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
    clip.save_beside("montage", tmp_path / "mine.png", overwrite=True)
    assert read(tmp_path / "mine.png").shape[1] == 2000


def test_a_sheet_from_python(tmp_path):
    frames, photo = moving()
    clip = Clip(frames, photo, Recipe(Source("w", "direct")))
    assert clip.save_beside("montage", tmp_path / "a.png") == tmp_path / "a.png"
    assert read(tmp_path / "a.png").shape[1] == 2000
