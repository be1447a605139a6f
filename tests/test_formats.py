"""Photos as they come, through `blurvid extract`: formats, depths, alpha, profiles, EXIF, XMP.

The weights are untrained, so that every frame is the photo; what is compared was written and
is read back by others: Pillow, tifffile, ffmpeg, and a PNG writer after the specification.
"""

from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
from helpers import STORED, invoke, noise, save_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin

from blurvid import media
from blurvid.config import FRAME_FORMATS
from blurvid.media.photo import Metadata

ORIENTATION, MAKER, ARTIST, EXIF, GPS = 274, 271, 315, 0x8769, 0x8825
TAKEN, MAKER_NOTE, WIDTH, HEIGHT = 0x9003, 37500, 0xA002, 0xA003
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF><rdf:Description tiff:Orientation="ORIENTATION" dc:rights="José">PREVIEW'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Untrained weights: every frame is the photo."""
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny").path


@pytest.fixture
def run(tiny):
    """Run `blurvid extract` on the tiny weights."""

    def run(*words, code=0, stdin=None):
        command = ["extract", "--threads=1", "--precision=fp32", "--device=cpu"]
        command += ["--weights", str(tiny), *map(str, words)]
        result = invoke(*command, stdin=stdin)
        assert result.exit_code == code, result.stderr
        return result

    return run


@pytest.fixture
def frames_of(run):
    """Extract to a folder of frames; the first frame's path, and the warnings on stderr."""

    def frames_of(photo, kind="png", warns=""):
        result = run(photo, "-o", "out", "--format", kind, "--overwrite")
        paths = [Path(line) for line in result.stdout.splitlines()]
        assert len(paths) == 7
        assert len({path.read_bytes() for path in paths}) == 1
        # The weights are untrained: the frames are the photo.
        lines = result.stderr.splitlines()
        warned = [line for line in lines if ": no visible gain: " not in line]
        if warns:
            assert any(warns in line for line in warned), result.stderr
            assert all(line.startswith(f"Warning: {photo}: ") for line in warned)
        else:
            assert warned == []
        return paths[0]

    return frames_of


def stored(shown, orientation):
    """Pixels as they lie in a file that says that they are turned."""
    return np.ascontiguousarray(STORED[orientation](shown))


def exif_of(orientation=None, **more):
    """An EXIF block such as a camera writes."""
    exif = Image.Exif()
    exif[MAKER] = "A maker"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF)[TAKEN] = "2021:07:04 12:34:56"
    exif.get_ifd(EXIF)[MAKER_NOTE] = bytes(range(199))
    exif.get_ifd(GPS)[1], exif.get_ifd(GPS)[2] = "N", (47.0, 22.0, 30.5)
    return exif


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(pixels, *extra, before=(), seed=None, bits=None, colour=None):
    """Encode a PNG after the specification, each row with a filter drawn at random.

    Args:
        pixels: (H, W, C), uint8 or uint16; with `bits` below 8, (H, bytes) packed.
        extra: chunks before the pixels.
        before: chunks before those, such as a palette.
        seed: of the filters; None filters nothing.
        bits: bits of a channel.
        colour: type of colour; that of C channels by default.
    """
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    packed = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    bits = bits or 8 * pixels.itemsize
    if bits < 8:
        width = width * 8 // bits
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels] if colour is None else colour
    step = max(1, channels * bits // 8)
    kinds = np.random.default_rng(seed).integers(0, 5, height) if seed is not None else None
    above, raw = bytes(packed.shape[1]), bytearray()
    for number, row in enumerate(packed.tolist()):
        kind = int(kinds[number]) if kinds is not None else 0
        raw.append(kind)
        for at, value in enumerate(row):
            left = row[at - step] if at >= step else 0
            corner = above[at - step] if at >= step else 0
            guess = left + above[at] - corner
            nearest = min((left, above[at], corner), key=lambda near: abs(guess - near))
            raw.append((value - [0, left, above[at], (left + above[at]) // 2, nearest][kind]) % 256)
        above = row
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks)


def with_ffmpeg(path, dtype, channels):
    """Pixels of a PNG as FFmpeg sees them, which also checks every checksum."""
    layout = {1: "gray", 2: "ya8", 3: "rgb24", 4: "rgba"}[channels]
    if dtype == np.uint16:
        layout = {1: "gray16", 2: "ya16", 3: "rgb48", 4: "rgba64"}[channels] + "le"
    options = {"err_detect": "crccheck+explode"}
    with av.open(str(path), options=options, format="png_pipe") as file:
        frame = next(file.decode(video=0)).reformat(format=layout)
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    width = frame.width * channels * np.dtype(dtype).itemsize
    return np.frombuffer(rows[:, :width].tobytes(), dtype)


def decoded(path, dtype=np.uint8, channels=3):
    """Pixels of a frame, (H, W, C), read by somebody else than blurvid."""
    if path.suffix == ".tiff":
        pixels = np.atleast_3d(tifffile.imread(path))
        assert pixels.dtype == dtype
        assert pixels.shape[2] == channels
        return pixels
    with Image.open(path) as image:
        width, height = image.size
        if dtype == np.uint8:
            assert len(image.getbands()) == channels
            return np.atleast_3d(np.asarray(image))
    assert path.read_bytes()[24] == 16
    return with_ffmpeg(path, dtype, channels).reshape(height, width, channels)


def exif_in(path):
    """EXIF of a file as Pillow reads it: tags of all directories."""
    if path.suffix == ".tiff":  # is itself an EXIF block, and may be of a mode unknown to Pillow
        exif = Image.Exif()
        exif.load(path.read_bytes())
    else:
        with Image.open(path) as image:
            exif = image.getexif()
    return dict(exif), dict(exif.get_ifd(EXIF)), dict(exif.get_ifd(GPS))


def info_in(path, key, tag):
    """A block of bytes beside the pixels, by Pillow's name for it, or by its TIFF tag."""
    if path.suffix == ".tiff":
        with tifffile.TiffFile(path) as tiff:
            found = tiff.pages[0].tags.get(tag)
            return None if found is None else bytes(found.value)
    with Image.open(path) as image:
        found = image.info.get(key) or image.info.get(f"XML:com.adobe.{key}")
    return found.encode() if isinstance(found, str) else found


def xmp_in(path):
    return info_in(path, "xmp", 700)


def icc_in(path):
    return info_in(path, "icc_profile", 34675)


# the whole way


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    source=st.sampled_from(["png", "tiff"]),
    kind=st.sampled_from(["png", "tiff", "webp-frames"]),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA"]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    orientation=st.sampled_from([None, *range(1, 9)]),
    seed=st.integers(0, 99),
)
def test_pixels_and_metadata_make_the_round_trip(
    frames_of, source, kind, mode, dtype, size, orientation, seed
):
    channels = CHANNELS[mode]
    shown = noise(*size, channels, dtype=dtype, seed=seed)
    lying = stored(shown, orientation or 1)
    icc = gray_profile() if channels < 3 else SRGB
    xmp = XMP.replace("ORIENTATION", str(orientation or 1)).replace("PREVIEW", "")
    if source == "png":
        extra = [
            (b"iCCP", b"x\0\0" + zlib.compress(icc)),
            (b"eXIf", exif_of(orientation).tobytes()),
        ]
        extra.append((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp.encode()))
        extra[1] = (b"eXIf", extra[1][1].removeprefix(b"Exif\0\0"))
        Path("a.png").write_bytes(png_file(lying, *extra, seed=seed))
    else:
        tags = [(MAKER, 2, None, "A maker", True), (34675, 7, len(icc), icc, True)]
        tags += [(700, 1, len(xmp.encode()), xmp.encode(), True)]
        if orientation is not None:
            tags.append((ORIENTATION, 3, 1, orientation, True))
        tifffile.imwrite(
            "a.tiff",
            lying if channels > 1 else lying[..., 0],
            photometric="rgb" if channels > 2 else "minisblack",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            planarconfig="contig" if channels > 1 else None,
            byteorder="<>"[seed % 2],
            compression=[None, "zlib"][seed // 2 % 2],
            software=False,
            metadata=None,
            extratags=tags,
        )

    wide = kind == "webp-frames" and dtype == np.uint16
    path = frames_of(f"a.{source}", kind, warns="WebP frames have 8 bits" if wide else "")

    if kind != "webp-frames":
        assert np.array_equal(decoded(path, dtype, channels), shown)
        assert icc_in(path) == icc
    elif channels > 2:
        expected = np.round(shown / 257).astype(np.uint8) if wide else shown
        with Image.open(path) as image:
            assert np.array_equal(
                np.asarray(image.convert(mode)), expected
            )  # alpha 255 is left out
        assert icc_in(path) == icc
    else:
        assert icc_in(path) is None  # there is no grey WebP
    main_tags, details, place = exif_in(path)
    assert main_tags[MAKER] == "A maker"
    assert main_tags.get(ORIENTATION, 1) == 1
    if source == "png":
        assert details[TAKEN] == "2021:07:04 12:34:56"
        assert details[MAKER_NOTE] == bytes(range(199))
        assert (place[1], place[2]) == ("N", (47, 22, 30.5))
    assert xmp_in(path).decode() == XMP.replace("ORIENTATION", "1").replace("PREVIEW", "")


def test_kinds_of_single_frames(run):
    Image.fromarray(noise(8, 9, 3)).save("a b.png")
    suffixes = {"png": ".png", "tiff": ".tiff", "jpg": ".jpg", "webp-frames": ".webp"}
    assert set(suffixes) == set(FRAME_FORMATS)
    for kind, suffix in suffixes.items():
        result = run("a b.png", "-o", f"out/{kind}", "--format", kind)
        expected = [f"out/{kind}/a b_{number}{suffix}" for number in range(1, 8)]
        assert result.stdout.splitlines() == expected
        with Image.open(expected[3]) as image:
            assert not getattr(image, "is_animated", False)
    assert run("a b.png", "--format", "tiff").stdout.startswith("a b_1.tiff\n")
    assert "exists already" in run("a b.png", "-o", "out/tiff", "--format", "tiff", code=6).stderr
    assert run("a b.png", "-o", "out/tiff", "--format", "tiff", "--skip-existing").stdout == ""
    both = run("a b.png", "-o", "clip.webp", "--format", "webp-frames", code=2)
    assert "contradict" in both.stderr


# 16 bits


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib", "rowsperstrip": 4},
        {"compression": "zlib", "predictor": True},
        {"compression": "zlib", "predictor": True, "byteorder": ">", "tile": (16, 32)},
        {"tile": (16, 16)},
        {"bigtiff": True, "rowsperstrip": 5},
        {"planar": True},
        {"planar": True, "compression": "zlib", "predictor": True, "byteorder": ">"},
        {"planar": True, "tile": (32, 16)},
    ],
)
def test_deep_tiff_of_any_layout(mode, layout):
    pixels, layout = noise(37, 41, CHANNELS[mode], dtype=np.uint16), dict(layout)
    planar = layout.pop("planar", False)
    if mode.endswith("A"):
        layout["extrasamples"] = ["unassalpha"]
    if mode != "L":
        layout["planarconfig"] = "separate" if planar else "contig"
    planar = planar and mode != "L"
    values = np.moveaxis(pixels, -1, 0) if planar else pixels
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.ascontiguousarray(values if mode != "L" else pixels[..., 0]),
        photometric="rgb" if "R" in mode else "minisblack", **layout,
    )  # fmt: skip
    file.seek(0)

    photo = media.read_photo(file)

    assert (photo.depth, photo.greyscale, photo.warnings) == (16, "L" in mode, ())
    read = photo.pixels[: 1 if "L" in mode else 3]
    assert np.array_equal(np.round(read.numpy() * 65535), np.moveaxis(pixels, -1, 0)[: len(read)])
    if photo.alpha is not None:
        assert np.array_equal(np.round(photo.alpha[0].numpy() * 65535), pixels[..., -1])
    assert (photo.alpha is not None) == mode.endswith("A")


def test_deep_tiff_in_lzw(frames_of):
    # LZW without compression: a clear code before every 250 bytes, so that codes keep 9 bits.
    pixels = noise(6, 11, 3, dtype=np.uint16)
    data = pixels.astype("<u2").tobytes()
    codes = [code for at in range(0, len(data), 250) for code in (256, *data[at : at + 250])]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tifffile.imwrite("a.tif", pixels, photometric="rgb", rowsperstrip=6, byteorder="<")
    file = bytearray(Path("a.tif").read_bytes())
    with tifffile.TiffFile("a.tif") as tiff:
        places = {tag.name: tag.valueoffset for tag in tiff.pages[0].tags}
    struct.pack_into("<H", file, places["Compression"], 5)
    struct.pack_into("<I", file, places["StripOffsets"], len(file))
    struct.pack_into("<I", file, places["StripByteCounts"], len(packed))
    Path("a.tif").write_bytes(file + packed)

    assert np.array_equal(decoded(frames_of("a.tif"), np.uint16, 3), pixels)


@pytest.mark.parametrize("kind", ["assocalpha", "unspecified"])
def test_deep_tiff_with_other_extra_channels(frames_of, kind):
    shown, solid = noise(9, 7, 3, dtype=np.uint16), noise(9, 7, 1, dtype=np.uint16, seed=1) | 32768
    light = np.round(shown * (solid / 65535)).astype(np.uint16) if kind == "assocalpha" else shown
    tifffile.imwrite("a.tif", np.dstack([light, solid]), photometric="rgb", extrasamples=[kind])

    got = decoded(frames_of("a.tif"), np.uint16, 4 if kind == "assocalpha" else 3)

    assert np.abs(got[..., :3].astype(int) - shown).max() <= 1
    if kind == "assocalpha":
        assert np.array_equal(got[..., 3:], solid)


def test_white_may_be_zero(frames_of):
    for dtype in (np.uint8, np.uint16):
        pixels = noise(9, 7, dtype=dtype)
        tifffile.imwrite("a.tif", pixels, photometric="miniswhite")
        assert np.array_equal(decoded(frames_of("a.tif"), dtype, 1)[..., 0], ~pixels)


def test_twelve_bits_become_sixteen(frames_of):
    # 2 x 1 pixels of 12 bits: 0x000 and 0xFFF
    entries = [(256, 4, 2), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, 1), (279, 4, 3)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    data = b"II*\0" + struct.pack("<I", 12) + b"\x00\x0f\xff\0" + struct.pack("<H", 9) + table
    Path("a.tif").write_bytes(data + bytes(4))

    assert decoded(frames_of("a.tif"), np.uint16, 1).flatten().tolist() == [0, 65535]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_level(frames_of, bits):
    dtype = np.uint16 if bits == 16 else np.uint8
    levels = np.array([[0, 1, 1, 0, 1, 0, 0, 1]], dtype)
    packed = levels
    if bits < 8:
        digits = "".join(f"{level:0{bits}b}" for level in levels[0])
        packed = np.array([[int(digits[at : at + 8], 2) for at in range(0, len(digits), 8)]], dtype)
    file = png_file(packed, (b"tRNS", struct.pack(">H", 1)), bits=bits)
    Path("a.png").write_bytes(file)

    got = decoded(frames_of("a.png"), dtype, 2)

    top = (1 << bits) - 1
    assert np.array_equal(got[0, :, 0], levels[0] * (np.iinfo(dtype).max // top))
    assert np.array_equal(got[0, :, 1] == 0, levels[0] == 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_transparent_colour(frames_of, dtype):
    pixels = noise(4, 5, 3, dtype=dtype)
    key = pixels[2, 3]
    pixels[0, 0], pixels[0, 1] = key, key ^ np.array([0, 0, 1], dtype)
    Path("a.png").write_bytes(png_file(pixels, (b"tRNS", key.astype(">u2").tobytes())))

    got = decoded(frames_of("a.png"), dtype, 4)

    assert np.array_equal(got[..., :3], pixels)
    assert np.argwhere(got[..., 3] == 0).tolist() == [[0, 0], [2, 3]]


@pytest.mark.parametrize("mode", ["1", "P", "PA", "La", "RGBa", "HSV", "YCbCr", "RGBX"])
def test_rare_modes_of_pillow(mode):
    image = Image.fromarray(noise(7, 9, 4))
    image = image.convert("LA" if mode == "La" else "P" if mode == "PA" else image.mode)
    image = image.convert("RGB").convert(mode) if mode in ("HSV", "YCbCr", "1") else image
    image = image.convert(mode)

    photo = media.as_photo(image)

    grey = mode in ("1", "La")
    see = ("LA" if grey else "RGBA") if image.has_transparency_data else ("L" if grey else "RGB")
    planes = np.moveaxis(np.atleast_3d(np.asarray(image.convert(see))), -1, 0)
    assert (photo.greyscale, photo.alpha is not None) == (grey, see.endswith("A"))
    assert np.array_equal(np.round(photo.pixels[0].numpy() * 255), planes[0])
    if see.endswith("A"):
        assert np.array_equal(np.round(photo.alpha[0].numpy() * 255), planes[-1])


@pytest.mark.parametrize(("mode", "what"), [("RGB;float", "3 x 32 bits per pixel, floats"),
                                            ("LAB;16", "photometric 8")])  # fmt: skip
def test_tiffs_that_are_not_read_say_what_they_are(run, mode, what):
    if mode == "RGB;float":
        tifffile.imwrite("a.tif", np.zeros((4, 5, 3), np.float32), photometric="rgb")
    else:
        tifffile.imwrite("a.tif", noise(4, 5, 3, dtype=np.uint16), photometric="cielab")
    (line,) = run("a.tif", "-o", "out", code=3).stderr.splitlines()
    assert line.startswith("Error: a.tif: is a TIFF of a kind that is not read")
    assert what in line


def test_raw_photos_are_not_mistaken_for_their_previews(run):
    tags = [(50706, 1, 4, b"\1\4\0\0", True)]
    tifffile.imwrite("a.dng", noise(4, 5, 3), photometric="rgb", subfiletype=1, extratags=tags)
    (line,) = run("a.dng", "-o", "out", code=3).stderr.splitlines()
    assert line == "Error: a.dng: is a raw photo; develop it to JPEG, PNG or TIFF first"


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", b"FUJIFILMCCD-RAW 0201", b"IIU\0\x18\0\0\0"]
)
def test_raw_photos_are_named(run, start):
    Path("a.raw").write_bytes(start + bytes(300))
    (line,) = run("a.raw", "-o", "out", code=3).stderr.splitlines()
    assert line == "Error: a.raw: is a raw photo; develop it to JPEG, PNG or TIFF first"


def test_bombs_are_refused(run):
    for bits in (8, 16):
        header = struct.pack(">IIBBBBB", 30_000, 20_000, bits, 2, 0, 0, 0)
        head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        data = chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
        Path(f"{bits}.png").write_bytes(head + data)
    tifffile.imwrite("bomb.tif", noise(4, 5, 3, dtype=np.uint16), photometric="rgb")
    file = bytearray(Path("bomb.tif").read_bytes())
    with tifffile.TiffFile("bomb.tif") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            at = tiff.pages[0].tags[tag].valueoffset
            file[at : at + 4] = struct.pack("<I", 30_000)
    Path("bomb.tif").write_bytes(file)
    for name in ("8.png", "16.png", "bomb.tif"):
        assert "more than 400 megapixels" in run(name, "-o", "out", code=3).stderr


# orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", ["jpg", "webp", "avif", "tiff", "heic"])
def test_orientation_of_every_format(frames_of, source, orientation):
    if source == "heic":
        pillow_heif = pytest.importorskip("pillow_heif")
    shown = np.zeros((24, 40, 3), np.uint8)  # red left half, blue bottom right
    shown[:, :20, 0] = 255
    shown[12:, 20:, 2] = 255
    image, exif = Image.fromarray(stored(shown, orientation)), exif_of(orientation)
    exif.get_ifd(EXIF)[WIDTH], exif.get_ifd(EXIF)[HEIGHT] = image.size
    if source == "heic":
        file = pillow_heif.from_pillow(image)
        file[0].info["exif"] = exif.tobytes()  # the file will say so in a box of its own too
        file.save("a.heic", quality=90)
    else:
        options = {"tiff": {}, "webp": {"lossless": True}}
        image.save(f"a.{source}", exif=exif.tobytes(), **options.get(source, {"quality": 95}))

    path = frames_of(f"a.{source}")

    got = decoded(path).astype(int)
    assert got.shape == (24, 40, 3)
    assert np.abs(got - shown)[6::12, 4::30].max() < 25
    tags, details, _ = exif_in(path)
    assert tags.get(ORIENTATION, 1) == 1
    assert tags[MAKER] == "A maker"
    if source != "heic":  # where the encoder turns the picture, but not its EXIF
        assert (details[WIDTH], details[HEIGHT]) == (40, 24)


def test_orientation_that_only_xmp_tells(frames_of):
    pixels = noise(6, 9, 3)
    xmp = XMP.replace("ORIENTATION", "6").replace("PREVIEW", "").encode()
    Image.fromarray(pixels).save("a.webp", lossless=True, xmp=xmp)
    path = frames_of("a.webp")
    assert np.array_equal(decoded(path), np.rot90(pixels, -1))
    assert b'tiff:Orientation="1"' in xmp_in(path)


# EXIF and XMP


def camera_exif(order="<"):
    """An EXIF block with what Pillow would change: offsets in a maker's note, UTF-8, IFD1."""
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 6), "blue").save(thumbnail, "JPEG")
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))

    def directory(at, entries, following=0):
        table = struct.pack(order + "H", len(entries))
        for tag, kind, count, value in entries:
            field = struct.pack(order + "I", value) if isinstance(value, int) else value
            table += struct.pack(order + "HHI", tag, kind, count) + field
        out[at : at + len(table) + 4] = table + struct.pack(order + "I", following)

    short = {"<": lambda n: struct.pack("<HH", n, 0), ">": lambda n: struct.pack(">HH", n, 0)}[
        order
    ]
    out += bytes(600)
    out[300:306] = "José\0".encode()
    out[310:330] = b"2021:07:04 12:34:56\0"
    out[340:380] = b"NOTE" + struct.pack(order + "I", 344) + bytes(range(32))  # points into itself
    small = thumbnail.getvalue()
    directory(8, [(271, 2, 4, b"abc\0"), (274, 3, 1, short(6)), (315, 2, 6, 300),
                  (513, 4, 1, 420), (0x8769, 4, 1, 100)], 200)  # fmt: skip
    directory(100, [(TAKEN, 2, 20, 310), (MAKER_NOTE, 7, 40, 340), (WIDTH, 4, 1, 24),
                    (HEIGHT, 3, 1, short(16))])  # fmt: skip
    directory(200, [(513, 4, 1, 420), (514, 4, 1, len(small))])
    out[420:] = small
    return b"Exif\0\0" + bytes(out), small


@pytest.mark.parametrize("kind", FRAME_FORMATS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_block_of_a_camera_is_kept_byte_for_byte(frames_of, kind, order):
    block, thumbnail = camera_exif(order)
    Image.fromarray(noise(16, 24, 3)).save("a.jpg", exif=block)

    path = frames_of("a.jpg", kind)

    with Image.open(path) as image:
        assert image.size == (16, 24)
        raw = image.info.get("exif") if kind != "tiff" else path.read_bytes()
        raw = raw.removeprefix(b"Exif\0\0")
    note = b"NOTE" + struct.pack(order + "I", 344) + bytes(range(32))
    assert raw.find(note) == 340  # where it was, so that its offset still holds
    assert "José\0".encode() in raw
    assert thumbnail not in path.read_bytes()
    assert b"\xff\xd8\xff" not in raw
    tags, details, _ = exif_in(path)
    assert (tags[ORIENTATION], tags[MAKER]) == (1, "abc")
    assert (details[TAKEN], details[MAKER_NOTE]) == ("2021:07:04 12:34:56", note)
    assert (details[WIDTH], details[HEIGHT]) == (16, 24)
    assert 513 not in tags


def test_exif_of_a_tiff_goes_everywhere(frames_of):
    exif = exif_of(3).tobytes()
    Image.fromarray(noise(6, 9, 3)).save("a.tif", exif=exif, dpi=(300, 300))
    for kind in FRAME_FORMATS:
        path = frames_of("a.tif", kind)
        tags, details, place = exif_in(path)
        assert (tags[MAKER], tags[ORIENTATION]) == ("A maker", 1)
        assert (tags[282], tags[283], tags[296]) == (300, 300, 2)
        assert (details[TAKEN], details[MAKER_NOTE]) == ("2021:07:04 12:34:56", bytes(range(199)))
        assert place[2] == (47, 22, 30.5)
        if kind == "tiff":
            with tifffile.TiffFile(path) as tiff:
                assert len(tiff.pages) == 1
                assert tiff.pages[0].tags["ExifTag"].value["DateTimeOriginal"] == details[TAKEN]
        else:
            assert not tags.keys() & {256, 257, 258, 259, 262, 273, 277, 278, 279}


@pytest.mark.parametrize("kind", FRAME_FORMATS)
def test_xmp_is_kept_without_its_preview(frames_of, kind):
    preview = (
        "<xmp:Thumbnails><rdf:Alt><rdf:li xmpGImg:image='/9j/4AAQ'/></rdf:Alt></xmp:Thumbnails>"
    )
    xmp = XMP.replace("ORIENTATION", "1").replace("PREVIEW", preview)
    Image.fromarray(noise(6, 9, 3)).save("a.jpg", xmp=xmp.encode())
    assert xmp_in(frames_of("a.jpg", kind)).decode() == xmp.replace(preview, "")


@pytest.mark.parametrize("mark", ["hdrgm:Version", "GCamera:MotionPhoto"])
def test_xmp_about_other_parts_of_the_file_is_dropped(frames_of, mark):
    xmp = XMP.replace("ORIENTATION", "1").replace("PREVIEW", f'<a {mark}="1"/>')
    Image.fromarray(noise(6, 9, 3)).save("a.jpg", xmp=xmp.encode())
    assert xmp_in(frames_of("a.jpg", warns="its XMP block is about what else")) is None


def test_exif_that_imagemagick_wrote(frames_of):
    raw = exif_of(6).tobytes()
    text = f"\nexif\n{len(raw):8}\n{raw.hex()}\n".encode()
    extra = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    pixels = noise(5, 8, 3)
    Path("a.png").write_bytes(png_file(pixels, extra))
    path = frames_of("a.png")
    assert np.array_equal(decoded(path), np.rot90(pixels, -1))
    assert exif_in(path)[1][TAKEN] == "2021:07:04 12:34:56"


def test_software_stays_as_it_was(frames_of):
    exif = exif_of()
    exif[305] = "A camera 1.0"
    Image.fromarray(noise(6, 9, 3)).save("a.jpg", exif=exif)
    for kind in FRAME_FORMATS:
        assert exif_in(frames_of("a.jpg", kind))[0][305] == "A camera 1.0"


# profiles


def profile(space, tags, pcs=b"XYZ "):
    """An ICC profile of version 2."""
    white = struct.pack(">4siiii", b"XYZ ", 0, 63190, 65536, 54061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0", **tags}
    table, data, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s", 128 + len(table) + len(data), b"", 0x02400000,
        b"prtr" if space == b"CMYK" else b"mntr", space, pcs, bytes(12), b"acsp",
    )  # fmt: skip
    header += bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + data


def gray_profile(gamma=1.0):
    return profile(b"GRAY", {b"kTRC": struct.pack(">4sIIHH", b"curv", 0, 1, round(gamma * 256), 0)})


def cmyk_profile():
    """Inks that mix like light filters: a look-up table of two points a side, into Lab."""
    corners = np.array(
        [[c, m, y, k] for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    )
    rgb = ((1 - corners[:, :3]) * (1 - corners[:, 3:]) * 255).astype(np.uint8)
    lab = ImageCms.profileToProfile(
        Image.fromarray(rgb[None]), ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"), outputMode="LAB",
    )  # fmt: skip
    ramp, one = bytes(range(256)), struct.pack(">i", 65536)
    nil = bytes(4)
    matrix = one + nil * 3 + one + nil * 3 + one
    points = (np.asarray(lab)[0] ^ np.array([0, 128, 128], np.uint8)).tobytes()
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + points + ramp * 3
    return profile(b"CMYK", {b"A2B0": lut}, pcs=b"Lab ")


@pytest.mark.parametrize("kind", FRAME_FORMATS)
def test_profiles_are_kept(frames_of, kind):
    Image.fromarray(noise(6, 9, 3)).save("a.jpg", icc_profile=SRGB)
    assert icc_in(frames_of("a.jpg", kind)) == SRGB


def test_grey_profiles_are_kept_where_grey_can_be_written(frames_of, run):
    gray = gray_profile()  # linear light
    Image.new("L", (16, 8), 55).save("a.png", icc_profile=gray)
    for kind in ("png", "tiff", "jpg"):
        path = frames_of("a.png", kind)
        assert icc_in(path) == gray
        assert np.abs(decoded(path, channels=1).astype(int) - 55).max() <= 1
    light = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)  # in sRGB
    path = frames_of("a.png", "webp-frames")
    assert icc_in(path) is None
    assert np.abs(decoded(path) - light).max() < 2
    run("a.png", "-o", "a.gif")
    with Image.open("a.gif") as clip:
        assert np.abs(np.asarray(clip.convert("RGB")) - light).max() < 2


@pytest.mark.parametrize("ink", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)])
@pytest.mark.parametrize("source", ["jpg", "tif"])
def test_cmyk_is_converted_through_its_profile(frames_of, source, ink):
    image = Image.new("CMYK", (16, 8), ink)
    image.save(f"a.{source}", icc_profile=cmyk_profile())
    path = frames_of(f"a.{source}")
    expected = (255 - np.array(ink[:3])) * (255 - ink[3]) // 255
    assert np.abs(decoded(path).astype(int) - expected).max() < 8
    assert icc_in(path) is None


@pytest.mark.parametrize("ycck", [False, True])
def test_cmyk_jpeg_with_the_inversion_of_adobe(frames_of, ycck):
    inks = np.array([200, 30, 60, 20])
    planes = inks
    if ycck:  # what JPEG calls red, green, blue are the inks (Adobe technical note 5116)
        luma = inks[:3] @ [0.299, 0.587, 0.114]
        chroma = [128 + (inks[2] - luma) / 1.772, 128 + (inks[0] - luma) / 1.402]
        planes = 255 - np.round([luma, *chroma, 255 - inks[3]]).astype(int)
    Image.new("CMYK", (16, 8), tuple(map(int, planes))).save("a.jpg", quality=100)
    file = bytearray(Path("a.jpg").read_bytes())
    at = file.index(b"Adobe") + 11
    file[at] = 2 if ycck else 0
    Path("a.jpg").write_bytes(file)

    got = decoded(frames_of("a.jpg", warns="CMYK without a usable profile"))

    assert np.abs(got - (255 - inks[:3]) * (255 - inks[3]) / 255).max() < 4


def test_16_bit_cmyk_warns(frames_of):
    inks = np.full((4, 5, 4), 0, np.uint16)
    inks[..., 0] = 65535
    tifffile.imwrite("a.tif", inks, photometric="separated")
    assert decoded(frames_of("a.tif", warns="16-bit CMYK is read with 8 bits"))[0, 0, 0] < 30


# damaged and oversized blocks


def test_a_large_profile_is_kept(frames_of):
    large = bytearray(SRGB + noise(3_000_000).tobytes())
    large[:4] = struct.pack(">I", len(large))
    large = bytes(large)
    pixels = noise(5, 8, 3)
    raw = exif_of().tobytes().removeprefix(b"Exif\0\0")
    extra = [(b"iCCP", b"x\0\0" + zlib.compress(large)), (b"eXIf", raw)]
    Path("a.png").write_bytes(png_file(pixels, *extra))
    for kind in FRAME_FORMATS:
        path = frames_of("a.png", kind, warns="")
        if kind != "png":  # Pillow cannot read what it has written
            assert icc_in(path) == large
        assert exif_in(path)[1][TAKEN] if kind != "png" else True
    assert media.read_photo("out/a_1.png").icc == large


def test_text_that_would_fill_the_memory_is_left_out(frames_of):
    bomb = zlib.compress(bytes(2_000_000))
    pixels = noise(5, 8, 3)
    Path("a.png").write_bytes(png_file(pixels, (b"zTXt", b"x\0\0" + bomb)))
    assert np.array_equal(decoded(frames_of("a.png", warns="damaged or too large")), pixels)


@pytest.mark.parametrize("kind", ["jpg", "png", "deep.png", "webp", "tif", "deep.tif"])
def test_no_damage_beside_the_pixels_fails_the_photo(kind):
    pixels = noise(8, 12, 3, dtype=np.uint16 if "deep" in kind else np.uint8)
    exif = exif_of(1).tobytes()
    xmp = XMP.replace("ORIENTATION", "1").replace("PREVIEW", "").encode()
    blocks = [SRGB, exif.removeprefix(b"Exif\0\0"), xmp]
    if "png" in kind:
        extra = [(b"iCCP", b"x\0\0" + zlib.compress(SRGB)), (b"eXIf", blocks[1])]
        extra.append((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp))
        whole, blocks = png_file(pixels, *extra), [data for _, data in extra]
    elif kind == "deep.tif":
        file = io.BytesIO()
        tags = [(34675, 7, len(SRGB), SRGB, True), (700, 1, len(xmp), xmp, True)]
        tags += [(MAKER, 2, None, "A maker of things", True), (EXIF, 4, 1, 1 << 20, True)]
        tifffile.imwrite(file, pixels, photometric="rgb", extratags=tags, metadata=None)
        whole, blocks = file.getvalue(), [SRGB, xmp, b"A maker of things"]
    else:
        file, options = io.BytesIO(), {"icc_profile": SRGB, "exif": exif}
        options |= {"webp": {"lossless": True, "xmp": xmp}, "jpg": {"xmp": xmp}}.get(kind, {})
        name = {"jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}[kind]
        Image.fromarray(pixels).save(file, name, **options)
        whole = file.getvalue()
        blocks = [b"A maker", b"2021:07:04", bytes(range(199)), SRGB] if kind == "tif" else blocks
    right = media.read_photo(io.BytesIO(whole))
    assert right.warnings == () or kind == "deep.tif"
    assert right.icc == SRGB
    draw = np.random.default_rng(0)
    for block in blocks:
        start = whole.index(block)
        for at in draw.integers(start, start + len(block), 40):
            damaged = bytearray(whole)
            damaged[at] ^= int(draw.integers(1, 256))
            photo = media.read_photo(io.BytesIO(bytes(damaged)))
            if damaged[at] and photo.pixels.shape == right.pixels.shape:  # else turned around
                assert np.array_equal(
                    photo.pixels.flatten().sort()[0], right.pixels.flatten().sort()[0]
                )


@given(
    st.lists(st.tuples(st.integers(0, 449), st.integers(0, 255)), max_size=5), st.integers(0, 900)
)
def test_no_exif_block_breaks_the_reader(changes, length):
    block, _ = camera_exif()
    block = bytearray(block[6:])
    for at, value in changes:
        block[at] = value
    warnings = []
    found = Metadata(exif=bytes(block[:length]))
    exif, _, _ = found.kept((24, 16), warnings)
    assert 1 <= found.orientation <= 8
    # six bytes of header, and the pointer to the next directory where it was cut off
    assert exif is None or len(exif) <= length + 6 + 4
    if not changes and length >= len(block):
        assert warnings == []
        again, _, _ = Metadata(exif=exif[6:]).kept((24, 16), warnings)
        assert again == exif


def test_damage_is_told(frames_of):
    pixels = noise(8, 12, 3)
    image = Image.fromarray(pixels)
    image.save("icc.jpg", icc_profile=b"nonsense")
    assert icc_in(frames_of("icc.jpg", warns="its colour profile is damaged")) is None
    image.save("exif.jpg", exif=b"Exif\0\0II*\0\xff\xff\0\0nonsense")
    frames_of("exif.jpg", warns="its EXIF block is damaged")
    image.save("xmp.jpg", xmp=b"\xff\xfe nonsense")
    assert xmp_in(frames_of("xmp.jpg", warns="its XMP block is damaged")) is None
    block, _ = camera_exif()
    for directory, number, tag in ((8, 2, ARTIST), (100, 0, TAKEN)):
        part = bytearray(block)
        struct.pack_into("<I", part, 6 + directory + 2 + 12 * number + 8, 1 << 30)  # its offset
        image.save("part.jpg", exif=bytes(part))
        path = frames_of("part.jpg", "tiff", warns="parts of its EXIF block are damaged")
        tags, details, _ = exif_in(path)
        found = {**tags, **details}
        assert tag not in found
        assert (found[MAKER], found[HEIGHT]) == ("abc", 12)
        assert len({ARTIST, TAKEN} & found.keys()) == 1
    file = bytearray(png_file(pixels, (b"eXIf", b"MM\0*" + bytes(9)), (b"tEXt", b"a\0b")))
    file[file.index(b"tEXt") + 4] ^= 1  # its checksum is wrong now
    Path("crc.png").write_bytes(file)
    path = frames_of("crc.png", warns="damaged or too large")
    assert np.array_equal(decoded(path), pixels)


# several pictures


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif", "tif", "deep.tif"])
def test_the_first_of_several_pictures(frames_of, kind):
    frames = [np.full((8, 9, 3), value, np.uint8) for value in (200, 20, 90)]
    if kind == "deep.tif":
        with tifffile.TiffWriter("a.deep.tif") as tiff:
            for frame in frames:
                tiff.write(frame.astype(np.uint16) * 257, photometric="rgb")
    else:
        first, *rest = [Image.fromarray(frame) for frame in frames]
        first.save(f"a.{kind}", save_all=True, append_images=rest)
    path = frames_of(f"a.{kind}", warns="holds several frames or pages; only the first is used")
    got = decoded(path, np.uint16 if kind == "deep.tif" else np.uint8)
    assert np.abs(got.astype(int) - 200 * (257 if kind == "deep.tif" else 1)).max() < 3


# what a format cannot hold


def test_jpeg_frames(frames_of):
    y, x = np.mgrid[0:32, 0:48]
    pixels = np.dstack([x * 5, y * 7, (x + y) * 3]).astype(np.uint8)
    Image.fromarray(pixels).save("a.png")
    path = frames_of("a.png", "jpg")
    assert np.abs(decoded(path).astype(int) - pixels).mean() < 1.5
    with Image.open(path) as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # colours at full size
    solid = np.full((32, 48, 1), 255, np.uint8)
    solid[:, 24:] = 0
    Image.fromarray(np.dstack([pixels, solid])).save("a.png")
    path = frames_of("a.png", "jpg", warns="JPEG frames have no transparency")
    assert decoded(path)[:, 34:].min() > 250
    tifffile.imwrite("a.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    path = frames_of("a.tif", "jpg", warns="JPEG frames have 8 bits per channel")
    assert np.abs(decoded(path).astype(int) - pixels).mean() < 1.5


def test_blocks_that_are_too_long_for_jpeg(frames_of):
    exif = exif_of()
    exif.get_ifd(EXIF)[37510] = bytes(70_000)
    Image.fromarray(noise(6, 9, 3)).save("a.png", exif=exif)
    path = frames_of("a.png", "jpg", warns="its EXIF block is too long for JPEG frames")
    assert exif_in(path)[0] == {}
    assert exif_in(frames_of("a.png", "tiff"))[1][37510] == bytes(70_000)


@pytest.mark.parametrize(("kind", "width"), [("webp-frames", 16_384), ("jpg", 65_501)])
def test_frames_that_are_too_wide(run, kind, width):
    Image.new("RGB", (width, 1)).save("a.png")
    (line,) = run("a.png", "-o", "out", "--format", kind, code=6).stderr.splitlines()
    assert line.startswith("Error: a.png: not written: ")
    assert line.endswith("a side; use png or tiff")
    assert not Path("out").exists() or not any(Path("out").iterdir())


# HEIC


def test_heic_without_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    head = struct.pack(">I", 24) + b"ftypmif1" + bytes(4) + b"mif1heic"
    for name in ("a.heic", "b.HEIF", "c.jpg"):
        Path(name).write_bytes(head + bytes(50))
        (line,) = run(name, "-o", "out", code=3).stderr.splitlines()
        problem = "HEIC photos need pillow-heif; run: pip install 'blurvid[heif]'"
        assert line == f"Error: {name}: {problem}"
    assert "Error: -: HEIC" in run("-", "-o", "out", stdin=head + bytes(50), code=3).stderr
    Path("folder").mkdir()
    Path("a.heic").rename("folder/a.heic")
    Image.fromarray(noise(5, 6, 3)).save("folder/b.png")
    result = run("folder", "-o", "out", code=3)
    assert "folder/a.heic: HEIC photos need" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_other_photos_do_not_import_the_extra(frames_of, monkeypatch):
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    for kind in ("png", "avif", "tiff"):
        Image.fromarray(noise(8, 8, 3)).save(f"a.{kind}")
        frames_of(f"a.{kind}")
    assert "pillow_heif" not in sys.modules


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_heic(frames_of, mode):
    pillow_heif = pytest.importorskip("pillow_heif")
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.dstack([x * 4, y * 5, (x + y) * 2, 255 - x]).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).convert(mode))
    xmp = XMP.replace("ORIENTATION", "1").replace("PREVIEW", "").encode()
    file = pillow_heif.from_pillow(Image.fromarray(pixels))
    icc = gray_profile() if mode == "L" else SRGB
    file[0].info |= {"exif": exif_of().tobytes(), "icc_profile": icc, "xmp": xmp}
    file.save("a.heic", quality=-1, chroma=444)

    path = frames_of("a.heic")

    got = decoded(path, channels=CHANNELS[mode])
    assert np.abs(got.astype(int) - np.atleast_3d(pixels)).max() <= 4
    assert icc_in(path) == icc
    assert exif_in(path)[1][TAKEN] == "2021:07:04 12:34:56"
    assert xmp_in(path) == xmp


def test_heic_of_10_bits(frames_of):
    pillow_heif = pytest.importorskip("pillow_heif")
    levels = np.linspace(0, 65535, 64, dtype=np.uint16)
    pixels = np.repeat(np.repeat(levels[None, :, None], 16, 0), 3, 2)
    file = pillow_heif.from_bytes("RGB;16", (64, 16), pixels.tobytes())
    file.save("a.heif", quality=-1, chroma=444, bit_depth=10, matrix_coefficients=0)

    got = decoded(frames_of("a.heif"), np.uint16, 3)

    assert np.abs(got.astype(int) - pixels).max() < 150  # 64 is a step of 10 bits
    assert (got.min(), got.max()) == (0, 65535)


@pytest.mark.parametrize("length", [24, 60, 400])
def test_damaged_heic(run, length):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(noise(16, 16, 3))).save("a.heic")
    Path("a.heic").write_bytes(Path("a.heic").read_bytes()[:length])
    (line,) = run("a.heic", "-o", "out", code=3).stderr.splitlines()
    assert line.startswith("Error: a.heic: a damaged HEIC photo")


def test_avif_of_10_bits_warns(frames_of):
    # grey, 16 x 16, by libaom
    Path("a.avif").write_bytes(base64.b64decode(
        "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAAD3bWV0YQAAAAAAAAAvaGRscgAAAAAAAAAAcGljdAAA"
        "AAAAAAAAAAAAAFBpY3R1cmVIYW5kbGVyAAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAR8A"
        "AAAQAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGhpcHJwAAAASWlwY28AAAAUaXNw"
        "ZQAAAAAAAAAQAAAAEAAAAA5waXhpAAAAAAEKAAAADGF2MUOBAFwAAAAAE2NvbHJuY2x4AAIAAgACgAAAABdpcG1h"
        "AAAAAAAAAAEAAQQBAoMEAAAAGG1kYXQKBRgM/9vUMgcYAAABQAQM"
    ))  # fmt: skip
    frames_of("a.avif", warns="its 10 or 12 bits per channel are read with 8 bits")
    Image.fromarray(noise(16, 16, 3)).save("a.avif")
    frames_of("a.avif")
