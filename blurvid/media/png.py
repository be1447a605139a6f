"""Float images to PNG, with 8 or 16 bits and what the photo came with."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from blurvid.atomic import replacing
from blurvid.errors import ExistsError
from blurvid.media.beside import as_raw_profile
from blurvid.media.photo import Photo
from blurvid.media.profile import profile_codes

XMP_KEYWORD = "XML:com.adobe.xmp"
IPTC_KEYWORD = "Raw profile type iptc"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = (b"IHDR", b"IDAT", b"IEND")
_LEVEL = 3
"""Of zlib for 16 bits, whose lower halves are mostly noise: 6 takes twice the time for 3 %."""


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
        if pixels.dtype == np.uint8:
            Image.fromarray(pixels).save(file, format="PNG", **options)
            return
        # Pillow writes no 16-bit colour; what stands beside the pixels is taken from a dot.
        dot = io.BytesIO()
        Image.new("L", (1, 1)).save(dot, format="PNG", **options)
        head, _, *body = _chunks(_encoded(pixels, "paeth", _LEVEL))  # without FFmpeg's pHYs
        besides = [chunk for chunk in _chunks(dot.getvalue()) if chunk[4:8] not in _PICTURE]
        file.writelines((_SIGNATURE, head, *besides, *body))


def quick_png(pixels: NDArray[np.uint8]) -> bytes:
    """Compress an 8-bit image in a fraction of the time of `write_png`, a bit larger.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        The PNG file.
    """
    return _encoded(pixels, "avg", 1)


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


def _chunks(file: bytes) -> list[bytes]:
    """The chunks of a PNG."""
    found, at = [], len(_SIGNATURE)
    while at < len(file):
        end = at + 12 + int.from_bytes(file[at : at + 4], "big")
        found.append(file[at:end])
        at = end
    return found


def _colour_chunks(photo: Photo | None) -> Iterator[tuple[bytes, bytes]]:
    """What a PNG says of HDR besides the profile, as most programs look for it there."""
    codes = profile_codes(photo.icc) if photo is not None and photo.icc is not None else None
    if codes is not None:
        primaries, transfer, _, _ = codes
        yield b"cICP", bytes((primaries, transfer, 0, 1))  # RGB and full range, always


def _levels(values: Tensor, limit: int) -> NDArray[np.float32]:
    """Scale [0, 1] to whole numbers in [0, limit], as floats."""
    if not values.is_floating_point():
        raise ValueError(f"values of {values.dtype}; floats in [0, 1] are needed")
    scaled = values.detach().to("cpu").float().clamp(0, 1).mul_(limit).round_()
    if scaled.isnan().any():
        raise ValueError("values that are not a number (NaN)")
    levels: NDArray[np.float32] = scaled.numpy()
    return levels
