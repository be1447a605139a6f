"""PNG: float images to files, with what the photo came with, and 16 bits back to pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin
from torch import Tensor

from blurvid.media.packets import PNG_KEYWORD, png_iptc
from blurvid.media.photo import Photo
from blurvid.media.pixels import frame_pixels
from blurvid.media.profile import Codes, profile_codes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = "XML:com.adobe.xmp"
_PICTURE = (b"IHDR", b"IDAT", b"IEND")
_LEVEL = 3
"""Of zlib for 16 bits, whose lower halves are mostly noise: 6 takes twice the time for 3 %."""


def save_png(image: Tensor, path: Path, photo: Photo | None) -> None:
    """Write one image to a path that must be new, as `stills.save_still` does."""
    pixels = frame_pixels(image, photo)
    options = {} if photo is None else _besides(photo)
    with path.open("xb") as file:
        if pixels.dtype == np.uint8:
            Image.fromarray(pixels).save(file, format="PNG", **options)
            return
        # Pillow writes no 16-bit colour; what stands beside the pixels is taken from a dot.
        dot = io.BytesIO()
        Image.new("L", (1, 1)).save(dot, format="PNG", **options)
        head, _, *body = chunks(io.BytesIO(_encoded(pixels, "paeth", _LEVEL)))  # without its pHYs
        besides = [found for found in chunks(dot) if found[0] not in _PICTURE]
        file.write(SIGNATURE)
        file.writelines(chunk(kind, data) for kind, data, _ in (head, *besides, *body))


def _besides(photo: Photo) -> dict[str, Any]:
    """What stands beside the pixels, as Pillow takes it."""
    info = PngImagePlugin.PngInfo()
    codes = None if photo.icc is None else profile_codes(photo.icc)
    if codes is not None:  # most programs look for HDR there; always RGB and of full range
        info.add(b"cICP", bytes((*codes[:2], 0, 1)))
    if photo.iptc is not None:
        info.add_text(PNG_KEYWORD, png_iptc(photo.iptc), zip=True)
    if photo.xmp is not None:
        info.add_itxt(_XMP_KEYWORD, photo.xmp.decode())
    found = {"icc_profile": photo.icc, "exif": photo.exif, "dpi": photo.dpi, "pnginfo": info}
    return {key: value for key, value in found.items() if value is not None}


def quick_png(pixels: NDArray[np.uint8]) -> bytes:
    """Compress an 8-bit image in a fraction of the time of `save_png`, a bit larger.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        The PNG file.
    """
    return _encoded(pixels, "avg", 1)


def _encoded(pixels: NDArray[Any], prediction: str, level: int) -> bytes:
    """A PNG of pixels (H, W) or (H, W, C) by FFmpeg.

    Args:
        pixels: uint8 RGB, or uint16 as `frame_pixels` makes them.
        prediction: what is left of a pixel before it is compressed (PNG specification, section 9).
        level: of zlib.
    """
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    deep = {1: "gray16be", 2: "ya16be", 3: "rgb48be", 4: "rgba64be"}
    kind = deep[channels] if pixels.dtype == np.uint16 else "rgb24"
    stored = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    frame = VideoFrame(width, height, kind)
    rows = np.zeros((height, frame.planes[0].line_size), np.uint8)
    rows[:, : stored.shape[1]] = stored
    frame.planes[0].update(rows.tobytes())
    codec = VideoCodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, kind, Fraction(1)
    codec.options = {"pred": prediction, "compression_level": str(level)}
    return b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))


def chunks(file: IO[bytes]) -> Iterator[tuple[bytes, bytes, bool]]:
    """Kind and data of each chunk of a PNG, and whether its checksum is right."""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        data, checksum = file.read(length), file.read(4)
        yield kind, data, checksum == struct.pack(">I", zlib.crc32(kind + data))


def chunk(kind: bytes, data: bytes, right: bool = True) -> bytes:
    """Put a chunk together, with a checksum that is right or not."""
    checksum = zlib.crc32(kind + data) ^ (not right)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_codes(file: IO[bytes]) -> Codes | None:
    """Code points of a PNG's cICP chunk (PNG, third edition, 11.3.2.6); None without one."""
    for kind, data, _ in chunks(file):
        if kind in (b"IDAT", b"IEND"):
            break
        if kind == b"cICP" and len(data) == 4:
            primaries, transfer, matrix, full = data
            return primaries, transfer, matrix, bool(full)
    return None


def deep_png(image: ImageFile.ImageFile, reopen: Callable[[], Any]) -> NDArray[np.uint16] | None:
    """Decode a PNG with 16 bits per channel, for the high bytes and for the low ones.

    Args:
        image: a PNG, opened but not loaded.
        reopen: opens it again.

    Returns:
        (H, W, C) as for `photo_from_values`; None if the file holds something else. 16-bit grey
        without alpha is Pillow's mode `I;16`.
    """
    if not image.tile:
        return None
    layout = image.tile[0].args
    if layout == "LA;16B":
        # Four bytes a pixel: Pillow may take them for 8-bit RGBA.
        return np.ascontiguousarray(_decoded(reopen(), "RGBA")).view(">u2").astype(np.uint16)
    if layout not in ("RGB;16B", "RGBA;16B"):
        return None
    # A pixel of the wrong byte order shows its low bytes where 8 bits are wanted.
    low = _decoded(reopen(), layout.removesuffix("B") + "L")
    samples: NDArray[np.uint16] = _decoded(image, layout).astype(np.uint16) * np.uint16(256) + low
    key = image.info.get("transparency")
    if isinstance(key, tuple):  # a colour that is meant to be transparent
        shown = (samples != np.array(key, np.uint16)).any(-1)
        samples = np.dstack([samples, shown.astype(np.uint16) * np.uint16(65535)])
    return samples


def _decoded(image: ImageFile.ImageFile, layout: str) -> NDArray[np.uint8]:
    """Decode an image, whose pixels are stored in a layout of Pillow's choice or ours."""
    image.tile = [tile._replace(args=layout) for tile in image.tile]
    image.load()
    return np.array(image)
