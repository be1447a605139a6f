"""A photo from a file, a stream or an image in memory, with an error that a user understands."""

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

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin
from torch import Tensor

from blurvid.errors import DeviceError, InputError, reason
from blurvid.files import is_heif
from blurvid.media import broken, tiff
from blurvid.media.heif import heif_codes, is_deep_avif, read_heif
from blurvid.media.photo import (
    Metadata,
    Photo,
    check_size,
    metadata_of,
    photo_from_values,
)
from blurvid.media.pixels import photo_from_array
from blurvid.media.png import deep_png, png_codes
from blurvid.media.profile import Codes, Colours, image_to_srgb
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
_TIFF_BITS = 258
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
    """Make a photo of what shows one.

    Args:
        photo: a file or a stream, see `read_photo`; a Pillow image; a numpy array (H, W),
            (H, W, 3) or (H, W, 4), RGB, uint8, uint16, or float in [0, 1]; a float tensor
            (3, H, W) or (1, 3, H, W), RGB in [0, 1], on any device; or a `Photo`.

    Returns:
        The photo, on the CPU; it shares no memory with an image, an array or a tensor.

    Raises:
        InputError: it cannot be read, is of another type or shape, or has no pixels or values that
            are not finite or out of range.
    """
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, np.ndarray | Tensor):
        return photo_from_array(photo, "image")
    if isinstance(photo, Image.Image):
        if 0 in photo.size:
            raise InputError("image: an image without pixels")
        try:
            return _from_image(photo.copy(), "image")
        except OSError as error:
            raise InputError(f"image: {error}") from error
    if isinstance(photo, str | Path) or hasattr(photo, "read"):
        return read_photo(photo)
    raise InputError(f"image: cannot make a photo of a {type(photo).__name__}")


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
            return _from_image(image, name, known, warnings, codes)
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


def _from_image(
    image: Image.Image,
    name: str,
    found: Metadata | None = None,
    warnings: list[str] | None = None,
    codes: Codes | None = None,
) -> Photo:
    """Take a Pillow image of any mode apart.

    Args:
        image: it is loaded.
        name: source for messages.
        found: metadata of its file, where the caller has it from elsewhere.
        warnings: what there is to say about the reading so far.
        codes: code points of its colours.
    """
    warnings = [] if warnings is None else warnings
    _before_loading(image, warnings)
    image.load()
    # (A PNG may tell its EXIF after its pixels.)
    found = found or metadata_of(image.info, getattr(image, "applist", ()))
    found = found.told(codes, image.format)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values, top = _deep_grey(image, name, warnings)
        depth = 16
    else:
        image, icc = _plain_mode(image, found.icc, warnings)
        if icc is not found.icc:
            found = dataclasses.replace(found, icc=icc, colours=Colours())
        values, top, depth = np.atleast_3d(np.array(image)), 255.0, 8
    return photo_from_values(values, top, found, name, depth=depth, warnings=warnings)


def _before_loading(image: Image.Image, warnings: list[str]) -> None:
    """Look at what is forgotten once an image is loaded: how its pixels are stored."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    stored = tiles[0].args if tiles else ""
    layout, *more = stored if isinstance(stored, tuple) else (stored,)
    plain = not image.mode.startswith("I")
    if plain and (";16" in str(layout) or (image.format == "PPM" and more and more[0] > 255)):
        warnings.append(f"16-bit {image.mode} is read with 8 bits")
    key = image.info.get("transparency")
    bits = {"1": 1, "L;2": 2, "L;4": 4}.get(str(layout))
    if bits is not None and isinstance(key, int) and key < 1 << bits:
        # Pillow stretches the levels of such a PNG to 8 bits, but not its transparent level.
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)


def _deep_grey(
    image: Image.Image, name: str, warnings: list[str]
) -> tuple[NDArray[np.float32], float]:
    """Greyscale of more than 8 bits: (H, W, 1) or with alpha (H, W, 2), and which is white."""
    values: NDArray[Any] = np.asarray(image)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: holds values that are not finite (NaN or infinity)")
    low, high = values.min(), values.max()
    if image.mode == "F":
        top = 1.0 if high <= 1 else 255.0
        if top > 1:
            warnings.append("float values above 1; 255 is taken as white")
    else:
        top = 4095.0 if _bits(image) == 12 else 65535.0
    if low < 0 or high > top:
        raise InputError(f"{name}: values from {low:g} to {high:g} lie outside 0 to {top:g}")
    planes = values.astype(np.float32)[..., None]
    key = image.info.get("transparency")
    if isinstance(key, int):
        planes = np.concatenate([planes, np.where(planes == key, 0, np.float32(top))], axis=-1)
    return planes, top


def _bits(image: Image.Image) -> int:
    """Bits per channel that a TIFF names; 0 for other files."""
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, (0,))
    return int(bits[0]) if isinstance(bits, tuple) else int(bits)


def _plain_mode(
    image: Image.Image, icc: bytes | None, warnings: list[str]
) -> tuple[Image.Image, bytes | None]:
    """Convert to L, LA, RGB or RGBA; return the image and the profile that still holds."""
    if image.mode in ("CMYK", "LAB"):
        converted = None
        if image.mode == "LAB" or icc is not None:
            converted = image_to_srgb(image, None if image.mode == "LAB" else icc)
        if converted is None:
            warnings.append(f"{image.mode} without a usable profile; colours are approximate")
            converted = image.convert("RGB")
        return converted, None
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        mode += "A"
    return (image if image.mode == mode else image.convert(mode)), icc
