"""Open a photo from a file or a stream, with an error that a user understands."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import threading
import warnings as python_warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin
from torch import Tensor

from blurvid.errors import DeviceError, InputError, reason
from blurvid.files import is_heif
from blurvid.media import broken, tiff
from blurvid.media.decode import check_size, photo_from_array, photo_from_image, photo_from_values
from blurvid.media.heif import heif_codes, is_deep_avif, read_heif
from blurvid.media.metadata import metadata_of
from blurvid.media.photo import Photo
from blurvid.media.png import deep_png, png_codes
from blurvid.runtime import lacks_memory

PhotoLike: TypeAlias = str | Path | BinaryIO | Image.Image | NDArray[Any] | Tensor | Photo
"""What a photo may come as."""
MAX_BYTES = 1 << 32
"""Longer files are refused before they are read; 400 megapixels need less in any depth."""
MAX_SCANS = 500
"""A JPEG is decoded as often as it has scans; ten are usual."""
MAX_WORK = 8_000_000_000
"""Most pixels of a JPEG, counted once for each of its scans."""
_UNWANTED = frozenset({"EPS"})
"""Pillow reads these by running another program on the file."""
_SEVERAL = "holds several frames or pages; only the first is used"
_CUT = "is truncated: a part of the picture is missing"
logging.getLogger("PIL").addHandler(logging.NullHandler())  # or it would write to stderr itself
_SWITCH = threading.Lock()
"""Held while Python's warnings, which belong to the whole process, are switched off."""


def read_photo(
    source: Path | str | BinaryIO, name: str | None = None, *, allow_truncated: bool = False
) -> Photo:
    """Read a photo in any format that Pillow knows, or a HEIC photo if pillow-heif is there.

    Orientation is applied, palettes and CMYK become RGB (through the profile where there is
    one), 16 bits per channel are kept as such; of an animation the first frame is taken.

    Args:
        source: a file, or a binary stream such as standard input.
        name: name for messages; the path, or `-` for a stream, if not given.
        allow_truncated: read what is there of a file that ends early, grey or black where
            nothing is; a JPEG that lacks only its end is read in any case. Both warn.

    Returns:
        The photo: (3, H, W) float32 RGB in [0, 1] and what has to be put back.

    Raises:
        InputError: missing, a folder, empty, damaged, not an image, or larger than 400
            megapixels.
        DeviceError: too little memory.
    """
    if isinstance(source, str | Path):
        name = name or str(source)
        try:
            with Path(source).open("rb") as file:
                return _read(file, name, allow_truncated)
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: {reason(error)}") from error
    return _read(source, name or "-", allow_truncated)


def as_photo(photo: PhotoLike) -> Photo:
    """Open a photo, whatever it comes as.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(photo, Photo):
        return photo
    value: Any = photo
    opened = isinstance(value, str | Path) or hasattr(value, "read")
    return read_photo(value) if opened else photo_from_array(value)


def photo_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a photo [px], as stored; None where its first bytes do not tell.

    What is wrong with it, reading it tells.
    """
    with contextlib.suppress(Exception):  # decoders raise anything on damaged files
        if path.is_file():
            with path.open("rb") as file, _open(file, file.read(512)) or Image.Image() as image:
                return image.size[::-1] if all(image.size) else None
    return None


def _read(file: BinaryIO | IO[bytes], name: str, partial: bool) -> Photo:
    """Read from an open file; one that cannot go back is taken into memory first."""
    try:
        stream: IO[bytes] = file if file.seekable() else io.BytesIO(file.read(MAX_BYTES + 1))
        length = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        start = stream.read(512)
    except OSError as error:
        raise InputError(f"{name}: {reason(error)}") from error
    except MemoryError as error:
        raise DeviceError(f"{name}: not enough memory to read it") from error
    if length > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES >> 30} gigabytes, too large for a photo")
    try:
        if is_heif(start):
            return read_heif(stream, name)
        if start[:2] in (b"II", b"MM") and (photo := tiff.read_deep(stream, name, _SEVERAL)):
            return photo
        return _read_pillow(stream, start, name, partial)
    except InputError:
        raise
    except Exception as error:  # decoders raise anything on damaged files
        if lacks_memory(error):
            raise DeviceError(f"{name}: not enough memory to read it") from error
        raise InputError(f"{name}: damaged or not supported: {reason(error)}") from error


def _read_pillow(stream: IO[bytes], start: bytes, name: str, partial: bool) -> Photo:
    """Read through Pillow; a PNG that fails is tried again without its extra blocks."""
    try:
        return _read_image(stream, start, name, [])
    except Exception as error:  # decoders raise anything on damaged files
        if (repaired := broken.repaired_png(stream)) is not None:
            file, profile, lost = repaired
            problem = "blocks with profile, EXIF or text are damaged or too large; they are dropped"
            with contextlib.suppress(Exception):
                return _read_image(file, start, name, [problem] if lost else [], profile)
        if broken.ends_early(error):
            return _read_cut(stream, start, name, partial)
        raise


def _read_cut(stream: IO[bytes], start: bytes, name: str, partial: bool) -> Photo:
    """Read a file that ends early and could not be read as it is."""
    jpeg = start.startswith(b"\xff\xd8")
    with contextlib.suppress(OSError):  # not even its header is whole
        if jpeg and broken.only_end_missing(stream):
            problem = "the marker at its end is missing; the picture is whole"
            return _read_image(broken.ended_jpeg(stream), start, name, [problem])
        if partial:
            rest = broken.ended_jpeg(stream) if jpeg else stream
            return _read_image(rest, start, name, [_CUT], partial=not jpeg)
    raise InputError(f"{name}: {_CUT}; --allow-truncated reads what is there")


def _read_image(
    stream: IO[bytes],
    start: bytes,
    name: str,
    warnings: list[str],
    icc: bytes | None = None,
    partial: bool = False,
) -> Photo:
    """Read through Pillow once, with a profile that was found before.

    With `partial`, what is there of a file that ends early, with 8 bits.
    """
    image = _open(stream, start) if start else None
    if image is None:
        raise InputError(f"{name}: {broken.what_else(stream, start, name)}")
    with image:
        check_size(image.size, name)
        if image.format in ("JPEG", "MPO"):
            _check_scans(image.size, stream, name)
        if image.format != "MPO" and _is_animated(image):
            # The second picture of an MPO is a gain map or another eye: nothing is lost.
            warnings.append(_SEVERAL)
        if image.format == "AVIF" and is_deep_avif(stream):
            warnings.append("its 10 or 12 bits per channel are read with 8 bits")
        if icc is not None:
            image.info["icc_profile"] = icc
        codes = png_codes(stream) if image.format == "PNG" else None
        codes = heif_codes(stream) if image.format == "AVIF" else codes
        known = None
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            known = tiff.prepare(image, stream)
        if partial:
            broken.load_part(image)
        plain = partial or image.format != "PNG"
        deep = None if plain else deep_png(image, lambda: _open(stream, start))
        if deep is None:
            return photo_from_image(image, name, known, warnings, codes)
        found = metadata_of(image.info).told(codes, image.format)
        return photo_from_values(deep, 65535, found, name, depth=16, warnings=warnings)


def _is_animated(image: ImageFile.ImageFile) -> bool:
    try:
        with _silence():
            return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame may be damaged
        return True


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Let Pillow say nothing about odd metadata; what matters is said in our own words."""
    with _SWITCH, python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        yield


def _check_scans(size: tuple[int, int], stream: IO[bytes], name: str) -> None:
    """Refuse a JPEG that would take hours to decode, however small the file."""
    stream.seek(0)
    scans = stream.read().count(b"\xff\xda")
    if scans > MAX_SCANS or scans * size[0] * size[1] > MAX_WORK:
        raise InputError(f"{name}: {scans} scans are more than any photo of this size needs")


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
                with _silence():
                    return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # not this kind after all
    return None
