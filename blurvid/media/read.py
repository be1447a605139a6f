"""Open a photo from a file or a stream, with an error that a user understands."""

from __future__ import annotations

import contextlib
import dataclasses
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
from blurvid.files import is_heif, is_video
from blurvid.media.cut import ended_jpeg, ends_early, load_part, only_end_missing
from blurvid.media.decode import photo_from_array, photo_from_image, photo_from_values
from blurvid.media.deep import deep_png, deep_tiff, described, make_room
from blurvid.media.ifd import TiffReader
from blurvid.media.metadata import ORIENTATION, Metadata, metadata_of, metadata_of_tiff
from blurvid.media.photo import Photo
from blurvid.media.repair import repaired_png
from blurvid.media.told import heif_codes, png_codes
from blurvid.runtime import lacks_memory

PhotoLike: TypeAlias = str | Path | BinaryIO | Image.Image | NDArray[Any] | Tensor | Photo
"""What a photo may come as."""
MAX_PIXELS = 400_000_000
"""Larger images are refused before they are decoded."""
MAX_BYTES = 1 << 32
"""Longer files are refused before they are read; 400 megapixels need less in any depth."""
MAX_SCANS = 500
"""A JPEG is decoded as often as it has scans; ten are usual."""
MAX_WORK = 8_000_000_000
"""Most pixels of a JPEG, counted once for each of its scans."""
_UNWANTED = frozenset({"EPS"})
"""Pillow reads these by running another program on the file."""
_SEVERAL = "holds several frames or pages; only the first is used"
_RAW = "is a raw photo; develop it to JPEG, PNG or TIFF first"
_RAW_STARTS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb")
"""Of Fujifilm, Panasonic, Olympus and Sigma; others are TIFF files, or media files of Canon."""
_CUT = "is truncated: a part of the picture is missing"
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
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
            return _read_heif(stream, name)
        if start[:2] in (b"II", b"MM"):
            photo = _read_tiff(stream, start, name)
            if photo is not None:
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
        repaired = repaired_png(stream)
        if repaired is not None:
            problem = "blocks with profile, EXIF or text are damaged or too large; they are dropped"
            problems = [problem] if repaired.lost else []
            with contextlib.suppress(Exception):
                return _read_image(repaired.file, start, name, problems, repaired.profile)
        if ends_early(error):
            return _read_cut(stream, start, name, partial)
        raise


def _read_cut(stream: IO[bytes], start: bytes, name: str, partial: bool) -> Photo:
    """Read a file that ends early and could not be read as it is."""
    jpeg = start.startswith(b"\xff\xd8")
    with contextlib.suppress(OSError):  # not even its header is whole
        if jpeg and only_end_missing(stream):
            problem = "the marker at its end is missing; the picture is whole"
            return _read_image(ended_jpeg(stream), start, name, [problem])
        if partial:
            rest = ended_jpeg(stream) if jpeg else stream
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
        raise InputError(f"{name}: {_what_else(stream, start, name)}")
    with image:
        _check_size(image.size, name)
        if image.format in ("JPEG", "MPO"):
            _check_scans(image.size, stream, name)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            make_room(image)
        if image.format != "MPO" and _is_animated(image):
            # The second picture of an MPO is a gain map or another eye: nothing is lost.
            warnings.append(_SEVERAL)
        if image.format == "AVIF" and _is_deep_avif(stream):
            warnings.append("its 10 or 12 bits per channel are read with 8 bits")
        if icc is not None:
            image.info["icc_profile"] = icc
        codes = png_codes(stream) if image.format == "PNG" else None
        codes = heif_codes(stream) if image.format == "AVIF" else codes
        known = _tiff_metadata(image, stream)
        if partial:
            load_part(image)
        plain = partial or image.format != "PNG"
        deep = None if plain else deep_png(image, lambda: _open(stream, start))
        if deep is None:
            return photo_from_image(image, name, known, warnings, codes)
        found = metadata_of(image.info).told(codes, image.format)
        return photo_from_values(deep, 65535, found, name, depth=16, warnings=warnings)


def _tiff_metadata(image: ImageFile.ImageFile, stream: IO[bytes]) -> Metadata | None:
    """Metadata of a TIFF, which stands in its directory; None for other files."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    # A TIFF turns itself when it is loaded. With the rest of its EXIF, it would fail as well
    # where that is damaged.
    known = Image.Exif()
    known[ORIENTATION] = image.tag_v2.get(ORIENTATION, 1)
    image.getexif = lambda: known  # type: ignore[method-assign]
    tiff = TiffReader(stream)
    found = metadata_of_tiff(tiff, tiff.directory(tiff.first)[0])
    return dataclasses.replace(found, turned=True)


def _is_animated(image: ImageFile.ImageFile) -> bool:
    try:
        with _silence():
            return bool(getattr(image, "is_animated", False))
    except Exception:  # what follows the first frame may be damaged
        return True


def _is_deep_avif(stream: IO[bytes]) -> bool:
    """Whether the AV1 configuration of an AVIF file has its `high_bitdepth` bit set."""
    stream.seek(0)
    head = stream.read(1 << 16)
    at = head.find(b"av1C")
    return at >= 0 and len(head) > at + 6 and bool(head[at + 6] & 0x40)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Let Pillow say nothing about odd metadata; what matters is said in our own words."""
    with _SWITCH, python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        yield


def _check_size(size: tuple[int, int], name: str) -> None:
    """Refuse an image that would need too much memory, before it is decoded."""
    width, height = size
    if min(width, height) < 1:
        raise InputError(f"{name}: an image without pixels")
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise InputError(f"{name}: {width} x {height} pixels are more than {limit}")


def _check_scans(size: tuple[int, int], stream: IO[bytes], name: str) -> None:
    """Refuse a JPEG that would take hours to decode, however small the file."""
    stream.seek(0)
    scans = stream.read().count(b"\xff\xda")
    if scans > MAX_SCANS or scans * size[0] * size[1] > MAX_WORK:
        raise InputError(f"{name}: {scans} scans are more than any photo of this size needs")


def _read_heif(stream: IO[bytes], name: str) -> Photo:
    """Read a HEIC photo."""
    from blurvid.media.heif import HeifPhoto

    try:
        image = HeifPhoto(stream, name)
        _check_size(image.size, name)
        values = image.decode()
    except InputError:
        raise
    except Exception as error:  # as other decoders, on damaged files
        problem = f"a damaged HEIC photo, or one of another kind: {reason(error)}"
        raise InputError(f"{name}: {problem}") from error
    warnings = ["holds several pictures; only the main one is used"] if image.count > 1 else []
    found = image.metadata.told(heif_codes(stream), "HEIF")
    return photo_from_values(values, 1, found, name, depth=image.depth, warnings=warnings)


def _read_tiff(stream: IO[bytes], start: bytes, name: str) -> Photo | None:
    """Read a TIFF with 16 bits per channel; None if Pillow reads it as well."""
    try:
        tiff = TiffReader(stream)
        tags, following = tiff.directory(tiff.first)
    except ValueError:
        return None
    subfile = tiff.number(tags.get(_SUBFILE_TYPE), 0)
    reduced = subfile & 1 and _SUB_DIRECTORIES in tags
    if _DNG_VERSION in tags or reduced or start[8:10] == b"CR":
        raise InputError(f"{name}: {_RAW}")
    deep = deep_tiff(stream, tiff, tags)
    if deep is None:
        return None
    _check_size(deep.size, name)
    found = metadata_of_tiff(tiff, tags)
    return photo_from_values(
        deep.decode(), 65535, found, name, depth=16, warnings=[_SEVERAL] if following else []
    )


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


def _what_else(stream: IO[bytes], start: bytes, name: str) -> str:
    """Say what a file is that is not an image, or not one that can be read."""
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the photo; run `git lfs pull`"
    if start.startswith(_RAW_STARTS) or start[4:12] == b"ftypcrx ":
        return _RAW
    if start[:2] in (b"II", b"MM"):
        with contextlib.suppress(ValueError):
            tiff = TiffReader(stream)
            kind = described(tiff, tiff.directory(tiff.first)[0])
            return f"is a TIFF of a kind that is not read ({kind}); save it with 8 or 16 bits"
    if is_video(name):
        return "is a video, not a photo"
    try:
        start[:-4].decode()  # the cut may go through a character
    except UnicodeDecodeError:
        return "is not an image of a known kind, or is damaged at its start"
    if b"\0" in start:
        return "is not an image of a known kind, or is damaged at its start"
    return "is text, not an image"
