"""Colours that a file tells without an ICC profile."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from blurvid.media import Photo, read_photo, write_still
from blurvid.media.heif import heif_codes
from blurvid.media.photo import flat_frames
from blurvid.media.profile import HLG, PQ, Colours, hdr_to_srgb, of_codes, pq_light, profile_codes

GREEN = (60, 180, 70)
ADOBE_CHUNK = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def png(path, colour, chunks, bits=8, kind=2):
    """A PNG of one colour with these chunks before its pixels."""
    rows = b"".join(
        b"\0" + np.tile(np.array(colour, f">u{bits // 8}"), 8).tobytes() for _ in "12345678"
    )
    head = struct.pack(">IIBBBBB", 8, 8, bits, kind, 0, 0, 0)
    pieces = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in pieces:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        data += struct.pack(">I", len(content)) + name + content + checksum
    path.write_bytes(data)
    return path


def shown(photo):
    """The colour that a format without profiles gets."""
    (pixels,) = flat_frames(photo.pixels[None, :, :1, :1], Photo(photo.pixels, icc=photo.icc))
    return tuple(int(level) for level in pixels[0, 0])


def camera(path, space, index=None, **options):
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    inner[0xA001] = space
    if index is not None:
        inner[0xA005] = {1: index}
    exif[0x8769] = inner
    Image.new("RGB", (8, 8), GREEN).save(path, exif=exif.tobytes(), **options)
    return path


# Adobe RGB (60, 180, 70) lies outside of sRGB: its red is below 0 there. Worked out from the two
# standards' matrices: light 0.0415, 0.4649, 0.0583 -> -0.125, 0.465, 0.040.
@pytest.mark.parametrize(
    ("space", "index", "expected"),
    [
        (0xFFFF, "R03", (0, 181, 57)),
        (2, None, (0, 181, 57)),
        (0xFFFF, None, GREEN),
        (1, "R98", GREEN),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_adobe_rgb_of_cameras(tmp_path, suffix, space, index, expected):
    options = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    path = camera(tmp_path / f"a{suffix}", space, index, **options.get(suffix, {}))
    photo = read_photo(path)
    assert photo.warnings == ()
    np.testing.assert_allclose(shown(photo), expected, atol=3)


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
def test_told_colours_are_told_again(tmp_path, kind):
    photo = read_photo(camera(tmp_path / "a.png", 0xFFFF, "R03"))
    out = write_still(photo.pixels, tmp_path / f"b.{kind}", photo)
    with Image.open(out) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert ImageCms.getProfileDescription(profile).strip() == "Compatible with Adobe RGB (1998)"
    assert read_photo(out).icc == photo.icc


def gamma(value):
    return b"gAMA", struct.pack(">I", value)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([gamma(45455)], GREEN),  # how files say sRGB
        ([gamma(100_000)], (133, 219, 143)),  # light: 255 * encoded(60 / 255) and so on
        ([gamma(45455), (b"cHRM", ADOBE_CHUNK)], (0, 181, 57)),
        ([gamma(100_000), (b"sRGB", b"\0")], GREEN),  # which counts more
        ([gamma(100_000), (b"cICP", bytes((1, 13, 0, 1)))], GREEN),
        ([(b"cICP", bytes((12, 13, 0, 1)))], (0, 183, 49)),  # Display P3
        ([(b"cICP", bytes((2, 2, 0, 1)))], GREEN),  # unspecified
    ],
)
def test_chunks_of_png(tmp_path, chunks, expected):
    photo = read_photo(png(tmp_path / "a.png", GREEN, chunks))
    assert photo.warnings == ()
    np.testing.assert_allclose(shown(photo), expected, atol=1)


def test_grey_png_of_linear_light(tmp_path):
    photo = read_photo(png(tmp_path / "a.png", (60,), [gamma(100_000)], kind=0))
    assert photo.greyscale
    np.testing.assert_allclose(shown(photo), (133, 133, 133), atol=1)


@pytest.mark.parametrize("chunks", [[gamma(1)], [gamma(45455), (b"cHRM", bytes(32))]])
def test_nonsense_is_named(tmp_path, chunks):
    photo = read_photo(png(tmp_path / "a.png", GREEN, chunks))
    assert photo.icc is None
    assert any("makes no sense" in warning for warning in photo.warnings)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_png_stays_hdr(tmp_path, bits, transfer):
    codes = (b"cICP", bytes((9, transfer, 0, 1)))
    level = 255 if bits == 8 else 65535
    path = png(tmp_path / "a.png", (level // 2,) * 3, [codes], bits)
    photo = read_photo(path)
    write_still(photo.pixels, tmp_path / "b.png", photo)
    data = (tmp_path / "b.png").read_bytes()
    assert data.count(struct.pack(">I", 4) + b"".join(codes)) == 1
    assert b"iCCP" in data
    assert data.index(b"cICP") < data.index(b"IDAT")
    red, green, blue = shown(read_photo(tmp_path / "b.png"))
    assert 110 < red == green == blue < 200  # neither washed out nor dark


def test_hdr_white_is_bright_and_order_is_kept():
    assert pq_light(np.array([0.58069]))[0] == pytest.approx(1, abs=1e-3)  # 203 cd/m², BT.2408
    assert pq_light(np.array([1.0]))[0] == pytest.approx(10_000 / 203, rel=1e-4)
    for transfer in (PQ, HLG):
        convert = hdr_to_srgb((9, transfer, 0, True))
        ramp = np.repeat(np.linspace(0, 1, 64)[:, None], 3, axis=1)
        out = convert(ramp)
        assert (np.diff(out[:, 0]) >= -1e-6).all()
        assert out[0, 0] == 0 and out[-1, 0] == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(out, out[:, :1].repeat(3, 1), atol=1e-3)  # grey stays grey
    assert hdr_to_srgb((1, 13, 0, True)) is None


@pytest.mark.parametrize(
    ("codes", "expected"), [((12, 13, 6, True), (0, 183, 49)), ((1, 13, 6, True), GREEN)]
)
@pytest.mark.parametrize("suffix", [".avif", ".heic"])
def test_nclx(tmp_path, suffix, codes, expected):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / f"a{suffix}"
    image = Image.new("RGB", (64, 64), GREEN)
    if suffix == ".avif":
        image.save(path, quality=100, subsampling="4:4:4")
    else:
        heif.from_pillow(image).save(path, quality=-1)
    data = path.read_bytes()
    at = data.index(b"nclx") + 4
    path.write_bytes(data[:at] + struct.pack(">HH", *codes[:2]) + data[at + 4 :])
    with path.open("rb") as file:
        assert heif_codes(file)[:2] == codes[:2]
    np.testing.assert_allclose(shown(read_photo(path)), expected, atol=4)


@pytest.mark.parametrize("cut", range(0, 260, 13))
def test_damaged_boxes_say_nothing(tmp_path, cut):
    Image.new("RGB", (64, 64), GREEN).save(tmp_path / "a.avif")
    data = bytearray((tmp_path / "a.avif").read_bytes())
    data[cut : cut + 4] = b"\xff\xff\xff\xff"
    heif_codes(io.BytesIO(bytes(data)))  # raises nothing
    assert heif_codes(io.BytesIO(bytes(data[:cut]))) is None


@pytest.mark.parametrize("grey", [False, True])
def test_profiles_hold_what_they_are_made_of(grey):
    pq = of_codes((9, PQ, 0, True))
    assert profile_codes(pq.profile(grey)) == (9, PQ, 0, True)
    assert profile_codes(Colours(gamma=1.0).profile(grey)) is None
    assert Colours().profile(grey) is None
    assert profile_codes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()) is None


def test_primaries_that_no_lamp_has(tmp_path):
    """ProPhoto's blue lies outside of all colours that can be seen, and nearly at y = 0."""
    wide = struct.pack(">8I", 34570, 35850, 73470, 26530, 15960, 84040, 3660, 10)
    path = png(tmp_path / "a.png", (128,) * 3, [(b"cHRM", wide), gamma(55556)])
    photo = read_photo(path)
    assert photo.warnings == ()
    np.testing.assert_allclose(shown(photo), (145,) * 3, atol=1)  # 0.502 ** 1.8, encoded again
