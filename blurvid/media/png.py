"""Float images to PNG, with 8 or 16 bits and what the photo came with."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from blurvid.atomic import replacing
from blurvid.errors import ExistsError
from blurvid.media.beside import as_raw_profile
from blurvid.media.metadata import EXIF_PREFIX
from blurvid.media.photo import Photo
from blurvid.media.profile import profile_codes

XMP_KEYWORD = "XML:com.adobe.xmp"
IPTC_KEYWORD = "Raw profile type iptc"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AVERAGE = 3
"""The filter that leaves the difference from the mean of the pixels to the left and above (PNG
specification, 9.2)."""
_LEVEL = 3
"""Of zlib for 16 bits, whose lower halves are mostly noise: 6 takes twice the time for 3 %."""
_PIECE = 1 << 20
"""About as many bytes are filtered and compressed at a time."""


def to_uint8(frames: Tensor) -> NDArray[np.uint8]:
    """Turn float images into 8-bit ones: clamp, times 255, rounded once.

    Args:
        frames: (..., 3, H, W) float RGB, nominally in [0, 1], on any device.

    Returns:
        (..., H, W, 3) uint8 RGB, contiguous, sharing no memory with `frames`.

    Raises:
        ValueError: another shape, not floats, or NaN values.
    """
    if frames.ndim < 3 or frames.shape[-3] != 3:
        raise ValueError(f"frames of shape {tuple(frames.shape)}; (..., 3, H, W) is needed")
    levels = _levels(frames, 255)
    return np.ascontiguousarray(np.moveaxis(levels, -3, -1).astype(np.uint8))


def write_png(
    image: Tensor, path: Path, photo: Photo | None = None, *, overwrite: bool = False
) -> None:
    """Write one image as a PNG file, with what its photo came with.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        path: the file; its folder is made if missing.
        photo: gives ICC profile, EXIF, XMP, alpha and depth. A greyscale photo gives a
            greyscale file (mean of the channels).
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists, or cannot be written.
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise ExistsError(f"{path}: exists already")
    with replacing([path]) as temporaries:
        save_png(image, temporaries[0], photo)


def save_png(image: Tensor, path: Path, photo: Photo | None) -> None:
    """Write one image as `write_png` does, but straight to a path that must be new."""
    pixels = frame_pixels(image, photo)
    if pixels.dtype == np.uint16:  # Pillow writes no 16-bit colour
        with path.open("xb") as file:
            file.writelines(_deep_chunks(pixels, photo))
        return
    options: dict[str, Any] = {}
    if photo is not None and photo.icc is not None:
        options["icc_profile"] = photo.icc
    if photo is not None and photo.exif is not None:
        options["exif"] = photo.exif
    info = options["pnginfo"] = PngImagePlugin.PngInfo()
    for kind, content in _colour_chunks(photo):
        info.add(kind, content)
    if photo is not None and photo.dpi is not None:
        options["dpi"] = photo.dpi
    if photo is not None and photo.iptc is not None:
        info.add_text(IPTC_KEYWORD, as_raw_profile(photo.iptc), zip=True)
    if photo is not None and photo.xmp is not None:
        info.add_itxt(XMP_KEYWORD, photo.xmp.decode())
    with path.open("xb") as file:
        Image.fromarray(pixels).save(file, format="PNG", **options)


def quick_png(pixels: NDArray[np.uint8]) -> bytes:
    """Compress an 8-bit image in a fraction of the time of `write_png`, a bit larger.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        The PNG file.
    """
    height, width, channels = pixels.shape
    bare = np.ascontiguousarray(pixels).reshape(height, width * channels)
    above, left = np.zeros((2, *bare.shape), np.uint8)
    above[1:], left[:, channels:] = bare[:-1], bare[:, :-channels]
    rows = np.full((height, 1 + width * channels), _AVERAGE, np.uint8)
    np.subtract(bare, (above & left) + ((above ^ left) >> 1), out=rows[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    # What is left of photos hardly repeats; not looking for it halves the time.
    compress = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    packed = compress.compress(rows.data) + compress.flush()
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def frame_pixels(image: Tensor, photo: Photo | None, depth: int | None = None) -> NDArray[Any]:
    """Round an image to what a file with all that its photo has would hold.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        photo: gives alpha, depth, and whether it is greyscale.
        depth: 8 or 16 bits per channel, whatever the photo has.

    Returns:
        uint8, or uint16 for 16 bits: (H, W) for grey, (H, W, 2) for grey and
        alpha, (H, W, 3) for colour, (H, W, 4) for colour and alpha.

    Raises:
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image of shape {tuple(image.shape)}; (3, H, W) is needed")
    depth = depth or (photo.depth if photo is not None else 8)
    limit, dtype = (65535, np.uint16) if depth == 16 else (255, np.uint8)
    grey = photo is not None and photo.greyscale
    planes = [_levels(image.float().mean(0, keepdim=True) if grey else image, limit)]
    if photo is not None and photo.alpha is not None:
        if photo.alpha.shape[-2:] != image.shape[-2:]:
            sides = f"{tuple(image.shape[-2:])} and {tuple(photo.alpha.shape[-2:])}"
            raise ValueError(f"image and alpha differ in size: {sides}")
        planes.append(_levels(photo.alpha, limit))
    # (C, H, W) -> (H, W, C)
    pixels = np.moveaxis(np.concatenate(planes).astype(dtype), 0, -1)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _deep_chunks(pixels: NDArray[np.uint16], photo: Photo | None) -> Iterator[bytes]:
    """The pieces of a PNG file with 16 bits per channel.

    Args:
        pixels: (H, W) or (H, W, C) as `frame_pixels` makes them.
        photo: gives ICC profile, EXIF and XMP.
    """
    pixels = np.atleast_3d(pixels)
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    yield _SIGNATURE
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    for kind, content in _colour_chunks(photo):
        yield _chunk(kind, content)
    if photo is not None and photo.icc is not None:
        yield _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc))
    if photo is not None and photo.exif is not None:
        yield _chunk(b"eXIf", photo.exif.removeprefix(EXIF_PREFIX))
    if photo is not None and photo.dpi is not None:
        metres = (round(side / 0.0254) for side in photo.dpi)
        yield _chunk(b"pHYs", struct.pack(">IIB", *metres, 1))
    if photo is not None and photo.iptc is not None:
        text = zlib.compress(as_raw_profile(photo.iptc).encode())
        yield _chunk(b"zTXt", IPTC_KEYWORD.encode() + bytes(2) + text)
    if photo is not None and photo.xmp is not None:
        yield _chunk(b"iTXt", XMP_KEYWORD.encode() + bytes(5) + photo.xmp)
    compress = zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    above = np.zeros((1, width * channels * 2), np.uint8)
    step = max(1, _PIECE // above.size)
    for top in range(0, height, step):
        stored = pixels[top : top + step].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        rows = np.concatenate([above, stored])
        data = compress.compress(_filtered(rows, 2 * channels).tobytes())
        above = rows[-1:]
        if data:
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", compress.flush())
    yield _chunk(b"IEND", b"")


def _colour_chunks(photo: Photo | None) -> Iterator[tuple[bytes, bytes]]:
    """What a PNG says of HDR besides the profile, as most programs look for it there."""
    codes = profile_codes(photo.icc) if photo is not None and photo.icc is not None else None
    if codes is not None:
        primaries, transfer, _, _ = codes
        yield b"cICP", bytes((primaries, transfer, 0, 1))  # RGB and full range, always


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(rows: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """Apply the Paeth filter (PNG specification, section 9.4), the best single one for photos.

    Args:
        rows: (N + 1, B) bytes; the first row has been filtered before.
        pixel: bytes of one pixel.

    Returns:
        (N, 1 + B), each row with the number of the filter before it.
    """
    padded = np.pad(rows, ((0, 0), (pixel, 0))).astype(np.int16)
    left, up, corner = padded[1:, :-pixel], padded[:-1, pixel:], padded[:-1, :-pixel]
    by_left, by_up = np.abs(up - corner), np.abs(left - corner)
    by_corner = np.abs(left + up - 2 * corner)
    nearest = np.where(by_up <= by_corner, up, corner)
    nearest = np.where((by_left <= by_up) & (by_left <= by_corner), left, nearest)
    out = np.full((len(rows) - 1, 1 + rows.shape[1]), 4, np.uint8)
    np.subtract(rows[1:], nearest.astype(np.uint8), out=out[:, 1:])
    return out


def _levels(values: Tensor, limit: int) -> NDArray[np.float32]:
    """Scale [0, 1] to whole numbers in [0, limit], as floats."""
    if not values.is_floating_point():
        raise ValueError(f"values of {values.dtype}; floats in [0, 1] are needed")
    scaled = values.detach().to("cpu").float().clamp(0, 1).mul_(limit).round_()
    if scaled.isnan().any():
        raise ValueError("values that are not a number (NaN)")
    levels: NDArray[np.float32] = scaled.numpy()
    return levels
