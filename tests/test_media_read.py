import io

import numpy as np
import pytest
import torch
from helpers import STORED, noise
from PIL import Image, ImageCms

from blurvid import media
from blurvid.errors import InputError

pytestmark = pytest.mark.quick

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATION = 274


def as_uint8(photo):
    return media.to_uint8(photo.pixels)


def save(image, path, **options):
    image.save(path, **options)
    return path


def refused(source, **options):
    with pytest.raises(InputError) as caught:
        media.read_photo(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("size", [(333, 217), (1, 1), (2, 5)])
def test_colour_comes_back_exactly(tmp_path, size):
    pixels = noise(*size, 3)
    photo = media.read_photo(save(Image.fromarray(pixels), tmp_path / "photo.png"))

    assert photo.pixels.shape == (3, *size)
    assert photo.pixels.dtype == torch.float32
    assert photo.pixels.is_contiguous()
    assert not photo.greyscale
    assert photo.depth == 8
    assert photo.alpha is None
    assert photo.warnings == ()
    assert np.array_equal(as_uint8(photo), pixels)


@pytest.mark.parametrize("kind", ["bmp", "tiff", "png", "webp", "gif", "ppm"])
def test_formats(tmp_path, kind):
    pixels = np.zeros((12, 16, 3), np.uint8)
    pixels[:, 8:] = (250, 128, 5)
    options = {"lossless": True} if kind == "webp" else {}
    photo = media.read_photo(save(Image.fromarray(pixels), tmp_path / f"p.{kind}", **options))

    assert np.array_equal(as_uint8(photo), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    shown = noise(24, 40, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[271] = "A maker"
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))

    photo = media.read_photo(save(image, tmp_path / "p.png", exif=exif))

    assert np.array_equal(as_uint8(photo), shown)
    media.write_still(photo.pixels, tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as out:
        assert (out.size, dict(out.getexif())) == ((40, 24), {ORIENTATION: 1, 271: "A maker"})


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_greyscale(tmp_path, mode):
    image = Image.fromarray(noise(11, 13)).convert(mode)
    photo = media.read_photo(save(image, tmp_path / "p.png"))

    assert photo.greyscale
    assert photo.pixels.shape == (3, 11, 13)
    assert (photo.alpha is not None) == (mode == "LA")
    assert np.array_equal(as_uint8(photo)[..., 1], np.asarray(image.convert("L")))


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_sixteen_bit_greyscale_makes_the_round_trip(tmp_path, kind):
    pixels = noise(17, 31, dtype=np.uint16)
    photo = media.read_photo(save(Image.fromarray(pixels), tmp_path / f"p.{kind}"))
    assert (photo.greyscale, photo.depth) == (True, 16)

    media.write_still(photo.pixels, tmp_path / "out.png", photo)

    with Image.open(tmp_path / "out.png") as out:
        assert np.array_equal(np.asarray(out), pixels)


def test_float_and_int_tiff(tmp_path):
    floats = np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7)
    photo = media.read_photo(save(Image.fromarray(floats), tmp_path / "f.tif"))
    assert np.array_equal(photo.pixels[0].numpy(), floats)

    photo = media.read_photo(save(Image.fromarray(floats * 255), tmp_path / "g.tif"))
    assert np.allclose(photo.pixels[0].numpy(), floats, atol=1e-6)
    assert photo.warnings

    ints = noise(5, 7, dtype=np.uint16).astype(np.int32)
    photo = media.read_photo(save(Image.fromarray(ints), tmp_path / "i.tif"))
    assert np.array_equal(torch.round(photo.pixels[0] * 65535).numpy(), ints)

    floats[2, 3] = np.nan
    assert "not finite" in refused(save(Image.fromarray(floats), tmp_path / "n.tif"))
    assert "outside" in refused(save(Image.fromarray(-ints), tmp_path / "m.tif"))


@pytest.mark.parametrize("transparency", [2, bytes([255, 128, 0])])
def test_palette_with_transparency(tmp_path, transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for index in range(3):
        image.putpixel((index, 0), index)
    photo = media.read_photo(save(image, tmp_path / "p.png", transparency=transparency))

    assert np.array_equal(as_uint8(photo)[0], 255 * np.eye(3))
    assert photo.alpha is not None
    middle = 1.0 if transparency == 2 else 128 / 255
    assert photo.alpha.flatten().tolist() == pytest.approx([1.0, middle, 0.0])


def test_lab_is_converted(tmp_path):
    image = Image.new("RGB", (6, 4), (200, 80, 40))
    lab = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    photo = media.read_photo(save(lab, tmp_path / "p.tif"))

    assert np.abs(as_uint8(photo)[0, 0].astype(int) - (200, 80, 40)).max() < 8


def test_a_profile_for_other_channels_is_dropped(tmp_path):
    photo = media.read_photo(save(Image.new("L", (6, 4)), tmp_path / "p.jpg", icc_profile=SRGB))

    assert photo.icc is None
    assert any("profile" in warning for warning in photo.warnings)


def test_a_stream_that_cannot_go_back(tmp_path):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise OSError("a pipe")

    path = save(Image.new("RGB", (4, 3), "red"), tmp_path / "p.png")

    photo = media.read_photo(Pipe(path.read_bytes()), name="-")

    assert photo.name == "-"
    assert photo.pixels.shape == (3, 3, 4)


def test_refusals_name_file_and_cause(tmp_path):
    good = save(Image.fromarray(noise(60, 80, 3)), tmp_path / "good.jpg").read_bytes()
    cases = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"<html>Not found: \xc3\xa4</html>\n", "text"),
        "lfs.png": (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "git lfs pull"),
        "cut.jpg": (good[: len(good) // 2], "truncated"),
        "head.jpg": (good[:20], "damaged"),
        "noise.png": (bytes(noise(500)), "damaged"),
        "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC"),
        "clip.mp4": (b"\0\0\0\x18ftypisom" + bytes(20), "video"),
    }
    for name, (content, cause) in cases.items():
        (tmp_path / name).write_bytes(content)
        text = refused(tmp_path / name)
        assert text.startswith(f"{tmp_path / name}: ")
        assert cause in text.removeprefix(f"{tmp_path / name}: "), text
    assert "no such file" in refused(tmp_path / "missing.jpg")
    assert "folder" in refused(tmp_path)
    assert "empty" in refused(io.BytesIO(b""), name="-")
    assert "null" in refused(f"{tmp_path}/a\0b")


def test_every_cut_of_a_file_is_refused_or_read(tmp_path):
    for kind in ("png", "gif", "webp", "tiff", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(noise(8, 9, 3)).save(buffer, kind)
        for end in range(0, len(buffer.getvalue()), 23):
            try:
                media.read_photo(io.BytesIO(buffer.getvalue()[:end]))
            except InputError as error:
                assert "\n" not in str(error)


def test_an_image_above_the_limits_of_pillow_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    pixels = noise(20, 30, 3)
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path)

    assert np.array_equal(as_uint8(media.read_photo(path)), pixels)


def test_photo_from_pillow_leaves_the_image_alone():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "JPEG", exif=exif)
    with Image.open(buffer) as image:
        assert media.as_photo(image).pixels.shape == (3, 8, 6)
        assert image.size == (8, 6)
        assert image.getexif()[ORIENTATION] == 6


def test_photo_from_numpy_and_torch():
    for shape, dtype in [((5, 4), np.uint8), ((5, 4, 3), np.uint8), ((5, 4, 4), np.uint16)]:
        value = noise(*shape, dtype=dtype)
        photo = media.as_photo(value)
        top = np.iinfo(dtype).max
        expected = value if value.ndim == 2 else value[..., 0]
        assert np.allclose(photo.pixels[0].numpy() * top, expected, atol=0.01)
        assert photo.greyscale == (value.ndim == 2)
        assert (photo.alpha is not None) == (shape[2:] == (4,))
        assert photo.depth == (8 if dtype == np.uint8 else 16)
    value = torch.rand(1, 3, 5, 4, requires_grad=True)
    photo = media.as_photo(value)
    assert torch.equal(photo.pixels, value[0].detach())
    photo.pixels.zero_()
    assert value.sum() > 0
    value = np.random.default_rng(0).random((5, 4, 3))
    value.setflags(write=False)
    assert media.as_photo(value).pixels.dtype == torch.float32


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4), 255.0), "255"),
        (np.full((4, 4), np.nan), "finite"),
        (torch.zeros(4, 4, 3), "shape"),
        (torch.zeros(2, 3, 4, 4), "shape"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "uint8"),
        (torch.full((3, 4, 4), -1.0), "-1"),
    ],
)
def test_what_is_no_photo_is_refused(value, cause):
    with pytest.raises(InputError, match=cause):
        media.as_photo(value)
