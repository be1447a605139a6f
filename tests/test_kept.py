"""What frames keep of what stands beside a photo's pixels, in every format."""

import hashlib
import io
import struct

import numpy as np
import pytest
from helpers import STORED
from PIL import Image, TiffImagePlugin

from blurvid.media import lost_in, read_photo, write_still
from blurvid.media.exif import kept_exif

IPTC = b"\x1c\x02\x05\x00\x05title\x1c\x02\x74\x00\x09copyright"
RESOURCES = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
THUMBNAIL = b"8BIM\x04\x0c\x00\x00" + struct.pack(">I", 4) + b"blur"
PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"{outer}>'
    '<rdf:Description rdf:about="" {inner}/></rdf:RDF></x:xmpmeta>'
)


def segment(mark, content):
    return struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content


def jpeg(path, segments=b"", size=(24, 16), **options):
    out = io.BytesIO()
    Image.new("RGB", size, (10, 90, 200)).save(out, "JPEG", **options)
    data = out.getvalue()
    path.write_bytes(data[:2] + segments + data[2:])
    return path


def again(tmp_path, photo, kind):
    """Write what came of a photo, and read it."""
    return read_photo(write_still(photo.pixels, tmp_path / f"out.{kind}", photo))


@pytest.mark.parametrize("kind", ["png", "deep.png", "tif", "jpg"])
def test_iptc_and_resolution_are_kept(tmp_path, kind):
    block = segment(0xED, b"Photoshop 3.0\0" + THUMBNAIL + RESOURCES)
    path = jpeg(tmp_path / "in.jpg", block, dpi=(300, 240))
    photo = read_photo(path)
    assert photo.warnings == ()
    assert (photo.iptc, photo.dpi) == (IPTC, (300, 240))
    if kind == "deep.png":
        photo = type(photo)(**{**vars(photo), "depth": 16})
    found = again(tmp_path, photo, kind)
    assert found.iptc == IPTC
    assert found.dpi == pytest.approx((300, 240), abs=0.02)
    if kind != "deep.png":
        with Image.open(tmp_path / f"out.{kind}") as image:
            assert image.info["dpi"] == pytest.approx((300, 240), abs=0.02)
            if kind == "jpg":
                assert image.info["photoshop"] == {0x0404: IPTC}  # no thumbnail of the blur


def test_resolution_in_webp_is_in_its_exif(tmp_path):
    photo = read_photo(jpeg(tmp_path / "in.jpg", b"", dpi=(300, 240)))
    assert again(tmp_path, photo, "webp").dpi == pytest.approx((300, 240))
    assert lost_in("webp-frames", photo) == ()
    exif = Image.Exif()
    exif[271] = "maker"
    photo = read_photo(jpeg(tmp_path / "in.jpg", b"", dpi=(300, 240), exif=exif.tobytes()))
    assert "pixels an inch" in lost_in("webp-frames", photo)[0]


def test_webp_says_what_it_cannot_hold(tmp_path):
    block = segment(0xED, b"Photoshop 3.0\0" + RESOURCES)
    photo = read_photo(jpeg(tmp_path / "in.jpg", block))
    assert lost_in("webp-frames", photo) == (
        "WebP frames have no place for IPTC records; they are left out",
    )
    assert lost_in("jpg", photo) == lost_in("png", photo) == ()


@pytest.mark.parametrize("tag", [33723, 34377])
def test_iptc_of_a_tiff(tmp_path, tag):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = IPTC if tag == 33723 else THUMBNAIL + RESOURCES
    tags.tagtype[tag] = 7
    Image.new("L", (8, 8), 9).save(tmp_path / "in.tif", tiffinfo=tags, dpi=(600, 600))
    photo = read_photo(tmp_path / "in.tif")
    assert (photo.iptc, photo.dpi) == (IPTC, (600, 600))
    assert again(tmp_path, photo, "png").dpi == pytest.approx((600, 600), abs=0.02)


def test_resolution_in_centimetres_and_of_exif_alone(tmp_path):
    exif = Image.Exif()
    exif[282] = exif[283] = TiffImagePlugin.IFDRational(100, 1)
    exif[296] = 3
    Image.new("RGB", (8, 8)).save(tmp_path / "in.webp", exif=exif.tobytes())
    assert read_photo(tmp_path / "in.webp").dpi == pytest.approx((254, 254))


def test_resolution_turns_with_the_photo(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(STORED[6](np.zeros((8, 16, 3), np.uint8)).copy())
    image.save(tmp_path / "in.jpg", exif=exif.tobytes(), dpi=(300, 200))
    assert read_photo(tmp_path / "in.jpg").dpi == (200, 300)


def with_long_xmp(path, long, guid=None):
    guid = guid or hashlib.md5(long).hexdigest().upper().encode()
    note = 'xmlns:n="urn:n/" n:short="1" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    main = PACKET.format(
        outer="", inner=note + f'xmpNote:HasExtendedXMP="{guid.decode()}"'
    ).encode()
    blocks = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main)
    for at in reversed(range(0, len(long), 60_000)):  # in any order
        head = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(long), at)
        blocks += segment(0xE1, head + long[at : at + 60_000])
    return jpeg(path, blocks)


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
def test_long_xmp_is_kept(tmp_path, kind):
    inner = 'm:note="' + "x" * 150_000 + '"'
    long = PACKET.format(outer=' xmlns:m="urn:m/"', inner=inner).encode()
    photo = read_photo(with_long_xmp(tmp_path / "in.jpg", long))
    assert photo.warnings == ()
    assert photo.xmp.count(b"<rdf:RDF") == 1
    for text in (b'n:short="1"', b'xmlns:m="urn:m/"', inner.encode()):
        assert text in photo.xmp
    assert b"HasExtendedXMP" not in photo.xmp
    assert lost_in("jpg", photo) == ()
    found = again(tmp_path, photo, kind)
    assert found.warnings == ()
    if kind == "jpg":  # in two parts again, the first of which says nothing else
        assert found.xmp.count(b"<rdf:RDF") == 1 and inner.encode() in found.xmp
    else:
        assert found.xmp == photo.xmp


def test_long_xmp_that_is_not_whole_is_named(tmp_path):
    long = PACKET.format(outer="", inner='m:note="' + "x" * 150_000 + '"').encode()
    path = with_long_xmp(tmp_path / "in.jpg", long, b"0" * 32)
    data = path.read_bytes()
    at = data.index(b"http://ns.adobe.com/xmp/extension/") - 4
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    path.write_bytes(data[:at] + data[at + 2 + length :])
    photo = read_photo(path)
    assert photo.warnings == ("the long part of its XMP block is damaged; it is dropped",)
    assert b'n:short="1"' in photo.xmp


def exif_with_note(beyond):
    """An EXIF block whose maker's note points, in its own way, at bytes behind everything."""
    note = b"MAKER" + struct.pack("<I", 200)
    first = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + struct.pack("<I", 100)
    inner = struct.pack("<HHHII", 1, 0x927C, 7, len(note), 60) + bytes(4)
    block = (b"II*\0" + struct.pack("<I", 8) + first).ljust(26, b"\0") + inner
    block = (block.ljust(60, b"\0") + note).ljust(100, b"\0")
    second = struct.pack("<HHHIIHHII", 2, 513, 4, 1, 150, 514, 4, 1, 20) + bytes(4)
    return (block + second).ljust(150, b"\0") + b"t" * 20 + bytes(30) + beyond


def test_what_a_makers_note_points_to_stays_where_it_is():
    exif = exif_with_note(b"of the maker")
    found, lost = kept_exif(exif, (24, 16))
    assert not lost
    data = found.removeprefix(b"Exif\0\0")
    assert data[60:69] == exif[60:69]
    assert data[200:] == b"of the maker"
    assert b"t" not in data[100:200]  # the thumbnail shows the blur
    assert data[100:126] == bytes(26)


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
def test_makers_notes_are_kept(tmp_path, kind):
    block = segment(0xE1, b"Exif\0\0" + exif_with_note(b"of the maker"))
    photo = read_photo(jpeg(tmp_path / "in.jpg", block))
    found = write_still(photo.pixels, tmp_path / f"out.{kind}", photo).read_bytes()
    assert b"of the maker" in found and b"MAKER" + struct.pack("<I", 200) in found
