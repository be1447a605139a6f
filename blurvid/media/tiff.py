"""Float images to TIFF, with 8 or 16 bits and what the photo came with."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from blurvid.errors import OutputError
from blurvid.media.ifd import (
    BYTE,
    HEADER_SIZE,
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Order,
    TiffBuilder,
    TiffReader,
)
from blurvid.media.metadata import EXIF_PREFIX
from blurvid.media.photo import Photo
from blurvid.media.png import frame_pixels

_LEVEL = 3
"""Of zlib, as for 16-bit PNG."""
_STRIP = 1 << 20
"""About as many bytes are compressed at a time."""
_LARGEST = (1 << 32) - 1
"""Largest file [bytes]; offsets have 32 bits."""


def save_tiff(image: Tensor, path: Path, photo: Photo | None, name: Path) -> None:
    """Write one image as a TIFF file with lossless compression (deflate).

    The file begins with the photo's EXIF block as it is, and the tags of its first directory
    are taken over into the file's own. So nothing in the block moves, and makers' notes,
    which point into it by offsets that only their makers know, stay readable.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        path: a file that must be new.
        photo: gives ICC profile, EXIF, XMP, alpha and depth, and whether it is greyscale.
        name: the file to name in messages.

    Raises:
        OutputError: the file would be larger than the format allows.
        OSError: the file cannot be written.
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    pixels = np.atleast_3d(frame_pixels(image, photo))
    height, width, channels = pixels.shape
    exif = photo.exif.removeprefix(EXIF_PREFIX) if photo is not None and photo.exif else None
    with path.open("xb+") as file:
        file.write(exif or bytes(HEADER_SIZE))
        records: dict[int, bytes] = {}
        order: Order = "<"
        if exif is not None:
            reader = TiffReader(file)
            order = reader.order
            found = reader.directory(reader.first)[0]
            records = {tag: entry.record for tag, entry in found.items()}
            file.seek(0, 2)
        build = TiffBuilder(file, order)
        offsets, lengths = [], []
        step = min(height, max(1, _STRIP // (pixels.itemsize * width * channels)))
        for top in range(0, height, step):
            rows = pixels[top : top + step]
            rows = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)  # predictor 2
            data = zlib.compress(rows.astype(rows.dtype.newbyteorder(order)).tobytes(), _LEVEL)
            offsets.append(build.align())
            lengths.append(len(data))
            if offsets[-1] + len(data) > _LARGEST:
                raise OutputError(f"{name}: not written: more than TIFF can hold; use png")
            file.write(data)
        alpha = channels in (2, 4)
        tags: dict[int, tuple[int, bytes | tuple[int, ...] | list[int]]] = {
            256: (LONG, (width,)),
            257: (LONG, (height,)),
            258: (SHORT, (8 * pixels.itemsize,) * channels),
            259: (SHORT, (8,)),  # compression: deflate
            262: (SHORT, (2 if channels > 2 else 1,)),  # RGB, or black is zero
            273: (LONG, offsets),
            277: (SHORT, (channels,)),
            278: (LONG, (step,)),
            279: (LONG, lengths),
            284: (SHORT, (1,)),  # channels side by side
            317: (SHORT, (2,)),  # predictor: difference to the pixel on the left
        }
        if alpha:
            tags[338] = (SHORT, (2,))  # not premultiplied
        if photo is not None and photo.xmp is not None:
            tags[700] = (BYTE, photo.xmp)
        if photo is not None and photo.icc is not None:
            tags[34675] = (UNDEFINED, photo.icc)
        if photo is not None and photo.iptc is not None:
            tags[33723] = (UNDEFINED, photo.iptc)
        dpi = photo.dpi if photo is not None else None
        if dpi is not None or not {282, 283, 296} <= records.keys():  # required; 72 says nothing
            for tag, side in zip((282, 283), dpi or (72, 72), strict=True):
                part = Fraction(side).limit_denominator(100)
                tags[tag] = (RATIONAL, struct.pack(order + "II", *part.as_integer_ratio()))
            tags[296] = (SHORT, (2,))
        records |= {tag: build.record(tag, *values) for tag, values in tags.items()}
        build.finish(build.directory(list(records.values())))
