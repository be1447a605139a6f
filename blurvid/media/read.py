"""Open a photo from a file or a stream, with an error that a user understands."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import IO, BinaryIO

from PIL import Image, ImageFile

from blurvid.errors import InputError
from blurvid.media.decode import photo_from_image
from blurvid.media.files import is_video
from blurvid.media.photo import Photo
from blurvid.media.text import reason

MAX_PIXELS = 400_000_000
"""Larger images are refused before they are decoded."""
_UNWANTED = frozenset({"EPS"})
"""Pillow reads these by running another program on the file."""


def read_photo(source: Path | str | BinaryIO, name: str | None = None) -> Photo:
    """Read a photo in any format that Pillow knows.

    Orientation is applied, palettes and CMYK become RGB (through the profile where there is
    one), 16-bit greyscale keeps its depth; of an animation the first frame is taken.

    Args:
        source: a file, or a binary stream such as standard input.
        name: name for messages; the path, or `-` for a stream, if not given.

    Returns:
        The photo: (3, H, W) float32 RGB in [0, 1] and what has to be put back.

    Raises:
        InputError: missing, a folder, empty, damaged, not an image, or larger than 400
            megapixels.
    """
    if isinstance(source, str | Path):
        name = name or str(source)
        try:
            with Path(source).open("rb") as file:
                return _read(file, name)
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: {reason(error)}") from error
    return _read(source, name or "-")


def _read(file: BinaryIO | IO[bytes], name: str) -> Photo:
    """Read from an open file; one that cannot go back is taken into memory first."""
    try:
        stream: IO[bytes] = file if file.seekable() else io.BytesIO(file.read())
        start = stream.read(512)
    except OSError as error:
        raise InputError(f"{name}: {reason(error)}") from error
    try:
        image = _open(stream, start) if start else None
        if image is None:
            raise InputError(f"{name}: {_what_else(start, name)}")
        with image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                limit = f"{MAX_PIXELS // 1_000_000} megapixels"
                raise InputError(f"{name}: {width} x {height} pixels are more than {limit}")
            return photo_from_image(image, name)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise InputError(f"{name}: damaged or not supported: {reason(error)}") from error


def _open(stream: IO[bytes], start: bytes) -> ImageFile.ImageFile | None:
    """Find the decoder of an image, as `Image.open` does but with a size limit of our own.

    `Image.open` refuses what exceeds a limit that is global to the process; changing that
    would change it for the whole program that uses this library, in all its threads.
    """
    tried: set[str] = set(_UNWANTED)
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for kind in [kind for kind in Image.ID if kind not in tried]:
            tried.add(kind)
            factory, accept = Image.OPEN[kind]
            try:
                if accept is not None and accept(start[:16]) is not True:
                    continue
                stream.seek(0)
                return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # not this kind after all
    return None


def _what_else(start: bytes, name: str) -> str:
    """Say what a file is that is not an image."""
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the photo; run `git lfs pull`"
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "HEIC photos are not supported; save it as JPEG or PNG first"
    if is_video(name):
        return "is a video, not a photo"
    try:
        start[:-4].decode()  # the cut may go through a character
    except UnicodeDecodeError:
        return "is not an image of a known kind, or is damaged at its start"
    if b"\0" in start:
        return "is not an image of a known kind, or is damaged at its start"
    return "is text, not an image"
