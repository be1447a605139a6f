"""Files that end too early."""

import io

import numpy as np
import pytest
from PIL import Image

from blurvid.errors import InputError
from blurvid.media import read_photo


def picture(width=96, height=64):
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    return (np.stack([x * 2, y * 3, x + y], -1) % 200 + noise).astype(np.uint8)


def encoded(kind, **options):
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, kind, **options)
    return out.getvalue()


JPEGS = {
    "baseline": {"quality": 90},
    "progressive": {"quality": 90, "progressive": True},
    "restarts": {"quality": 90, "restart_marker_rows": 1},
    "optimal": {"quality": 40, "optimize": True, "subsampling": 0},
}


@pytest.mark.parametrize("name", [name for name in JPEGS if name != "progressive"])
@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_is_whole(name, cut):
    data = encoded("JPEG", **JPEGS[name])
    photo = read_photo(io.BytesIO(data[:-cut]))
    assert photo.warnings == ("the marker at its end is missing; the picture is whole",)
    assert photo.pixels.equal(read_photo(io.BytesIO(data)).pixels)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("cut", [3, 5, 40, 0.5, 0.7])
def test_a_jpeg_cut_in_the_middle(name, cut):
    data = encoded("JPEG", **JPEGS[name])
    part = data[: -cut if isinstance(cut, int) else int(len(data) * cut)]
    with pytest.raises(InputError, match=r"truncated.*--allow-truncated"):
        read_photo(io.BytesIO(part))
    photo = read_photo(io.BytesIO(part), allow_truncated=True)
    assert photo.warnings == ("is truncated: a part of the picture is missing",)
    assert photo.pixels.shape == (3, 64, 96)
    whole = read_photo(io.BytesIO(data)).pixels
    assert (photo.pixels - whole)[:, :8].abs().mean() < 0.2  # the first rows are there


@pytest.mark.parametrize("cut", [1, 2])
def test_a_progressive_jpeg_without_its_end_may_lack_a_scan(cut):
    with pytest.raises(InputError, match=r"truncated.*--allow-truncated"):
        read_photo(io.BytesIO(encoded("JPEG", progressive=True)[:-cut]))


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_other_files_cut_in_the_middle(kind):
    data = encoded(kind)
    part = data[: int(len(data) * 0.6)]
    with pytest.raises(InputError, match=r"truncated.*--allow-truncated"):
        read_photo(io.BytesIO(part))
    photo = read_photo(io.BytesIO(part), allow_truncated=True)
    assert photo.warnings == ("is truncated: a part of the picture is missing",)
    rows = photo.pixels.permute(1, 2, 0).mul(255).round().numpy().astype(np.uint8)
    same = (rows == picture()).all((1, 2))
    assert 10 < same.sum() < 64


def test_a_jpeg_without_even_its_header():
    with pytest.raises(InputError, match="truncated"):
        read_photo(io.BytesIO(encoded("JPEG")[:400]), allow_truncated=True)


def test_whole_files_are_read_the_same_whatever_is_allowed():
    for kind in ("PNG", "JPEG"):
        data = encoded(kind)
        photo = read_photo(io.BytesIO(data), allow_truncated=True)
        assert photo.warnings == ()
        assert photo.pixels.equal(read_photo(io.BytesIO(data)).pixels)
