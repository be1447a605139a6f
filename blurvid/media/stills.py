"""Single frames as files: PNG, TIFF, JPEG or WebP; and what fits into which format."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from blurvid.atomic import replacing
from blurvid.config import FRAME_FORMATS, FRAMES, JPEG_QUALITY
from blurvid.errors import OutputError
from blurvid.media.exif import EXIF_PREFIX, RESOLUTION, dpi_of
from blurvid.media.packets import jpeg_iptc, split_xmp
from blurvid.media.photo import LARGEST, Photo, fitting, flat_frames, sensible_dpi
from blurvid.media.pixels import frame_pixels, on_white
from blurvid.media.png import save_png
from blurvid.media.profile import profile_space, srgb_converter
from blurvid.media.tiff import save_tiff
from blurvid.targets import check_file, kind_of

_LABELS = {"jpg": "JPEG", "webp-frames": "WebP"}
_JPEG_BLOCK = 65_502
"""Longest EXIF block and XMP packet [bytes] that a JPEG file holds, less their headers."""
_LONGEST_IPTC = 65_501
"""Longest IPTC records [bytes] that go into one segment of a JPEG."""
_NO_DPI = (72, 72)
"""Pixels an inch of files that do not know."""
_WEBP_EFFORT = {"method": 2, "quality": 20}
"""A third of the time of Pillow's defaults, for files less than 1 % larger (lossless)."""


def write_still(
    image: Tensor, target: Path, photo: Photo | None = None, *, overwrite: bool = False
) -> Path:
    """Write one picture with what its photo came with, as far as the format can.

    It appears under its name when it is whole.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        target: a file whose suffix names its kind; its folder is made if missing.
        photo: what it came from.
        overwrite: replace an existing file.

    Returns:
        The file written.

    Raises:
        OptionError: an unknown suffix.
        OutputError: the file exists already, or cannot be written.
        ValueError: another shape or size than the photo's, or NaN values.
    """
    target = Path(target)
    kind = kind_of(target, single=True)
    check_file(target, overwrite)
    with replacing([target]) as (temporary,):
        save_still(image, temporary, photo, kind, target)
    return target


def save_still(image: Tensor, path: Path, photo: Photo | None, kind: str, name: Path) -> None:
    """Write one frame as `write_still` does, but straight to a path that must be new.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        path: the file.
        photo: gives ICC profile, EXIF, XMP, alpha and depth, and whether it is greyscale.
        kind: one of `config.FRAME_FORMATS`.
        name: the file to name in messages.

    Raises:
        OutputError: the format cannot hold an image of this size.
        OSError: the file cannot be written.
        ValueError: another kind, shape or size than the photo's, or NaN values.
    """
    if kind == "png":
        save_png(image, path, photo)
    elif kind == "tiff":
        save_tiff(image, path, photo, name)
    elif kind in FRAME_FORMATS:
        _save_shallow(image, path, photo, kind, name)
    else:
        raise ValueError(f"no kind of single frames named {kind!r}")


def _save_shallow(image: Tensor, path: Path, photo: Photo | None, kind: str, name: Path) -> None:
    """Write a JPEG or WebP file, which has 8 bits per channel."""
    jpeg = kind == "jpg"
    _check_size(kind, (image.shape[-2], image.shape[-1]), str(name))
    pixels = frame_pixels(image, photo, depth=8)
    options: dict[str, Any] = {}
    icc = photo.icc if photo is not None else None
    if jpeg:
        options |= {"format": "JPEG", "quality": JPEG_QUALITY, "subsampling": "4:4:4"}
        if pixels.shape[2:] in ((2,), (4,)):  # JPEG has no alpha: the frame goes on white
            pixels = on_white(pixels)
            pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    else:
        options |= {"format": "WEBP", "lossless": True, "exact": True, **_WEBP_EFFORT}
        if icc is not None and profile_space(icc) == "GRAY":  # WebP knows no greyscale
            colours, alpha = np.atleast_3d(pixels)[..., :1], np.atleast_3d(pixels)[..., 1:]
            shown = srgb_converter(icc)(np.repeat(colours, 3, axis=-1))
            pixels, icc = np.dstack([shown, alpha]), None
    if icc is not None:
        options["icc_profile"] = icc
    if photo is not None:
        options |= _besides(photo, kind)[0]
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, **options)
    with path.open("xb") as file:
        # Given the file, Pillow's JPEG encoder takes a write cut short by a full disk for done.
        file.write(data.getbuffer())


def _check_size(kind: str, size: tuple[int, int], name: str = "") -> None:
    """Refuse single frames (H, W) that a format cannot hold: they are not made smaller."""
    if fitting(kind, *size) != size:
        pixels = f"{size[1]} x {size[0]} pixels, but {_LABELS[kind]} holds {LARGEST[kind][0]}"
        where = f"{name}: " if name else ""
        raise OutputError(f"{where}not written: {pixels} a side; use png or tiff")


def _besides(photo: Photo, kind: str) -> tuple[dict[str, Any], list[str]]:
    """Metadata of a JPEG or WebP file, as Pillow takes them, and what it has no place for."""
    found: dict[str, Any] = {"exif": photo.exif, "xmp": photo.xmp}
    lost = []
    if kind == "jpg":
        found["dpi"] = photo.dpi
        segments = []
        if photo.exif is not None and len(photo.exif) > _JPEG_BLOCK:
            found["exif"] = None
            lost.append("its EXIF block is too long for JPEG frames; it is left out")
        if photo.iptc is not None and len(photo.iptc) > _LONGEST_IPTC:
            lost.append("its IPTC records are too long for JPEG frames; they are left out")
        elif photo.iptc is not None:
            segments.append((0xED, jpeg_iptc(photo.iptc)))
        if photo.xmp is not None and len(photo.xmp) > _JPEG_BLOCK:
            found["xmp"], pieces = split_xmp(photo.xmp)
            segments += [(0xE1, piece) for piece in pieces]
        found["extra"] = b"".join(
            struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content
            for mark, content in segments
        )
    else:
        if photo.iptc is not None:
            lost.append("WebP frames have no place for IPTC records; they are left out")
        if photo.exif is None and photo.dpi is not None:  # its one place for pixels an inch
            exif = Image.Exif()
            for tag, value in zip(RESOLUTION, (*photo.dpi, 2), strict=True):
                exif[tag] = value
            found["exif"] = exif.tobytes()
        elif photo.exif is not None and photo.dpi not in (None, _NO_DPI):
            if sensible_dpi(dpi_of(photo.exif.removeprefix(EXIF_PREFIX))) is None:
                lost.append("WebP frames keep pixels an inch in EXIF, which has none; left out")
    return {key: block for key, block in found.items() if block is not None}, lost


def lost_in_still(kind: str, photo: Photo) -> list[str]:
    """What of a photo its frames cannot hold, one line each; nothing for PNG and TIFF.

    Raises:
        OutputError: single frames that the format cannot hold.
    """
    if kind not in _LABELS:
        return []
    _check_size(kind, (photo.pixels.shape[-2], photo.pixels.shape[-1]))
    label, lost = _LABELS[kind], []
    if photo.depth > 8:
        lost.append(f"{label} frames have 8 bits per channel, the photo has {photo.depth}")
    if kind == "jpg" and photo.alpha is not None:
        lost.append("JPEG frames have no transparency; they are put on white")
    return lost + _besides(photo, kind)[1]


_SIDE, _QUALITY = 480, 82
"""Longest side of a picture of a strip [px], and what WebP makes of it."""


def save_strip(frames: Tensor, path: Path, photo: Photo) -> None:
    """Write a photo and at most seven of its frames below one another, small, as WebP.

    One picture for all of them is one file to load, and a page plays it by moving it.

    Args:
        frames: (T, 3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that is new.
        photo: what the frames came from, H x W as they are.
    """
    (blurry,) = flat_frames(photo.pixels[None], photo)
    picked = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)
    pictures = [Image.fromarray(blurry)]
    pictures += [Image.fromarray(frame) for frame in flat_frames(frames[picked.tolist()], photo)]
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    width, height = pictures[0].size
    strip = Image.new("RGB", (width, height * len(pictures)))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (0, number * height))
    strip.save(path, "webp", quality=_QUALITY)
