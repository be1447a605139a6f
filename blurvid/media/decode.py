"""From a Pillow image of any mode to a `Photo`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from blurvid.errors import InputError
from blurvid.media.color import image_to_srgb, profile_space
from blurvid.media.photo import Photo

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright."""

# Tags by which a TIFF describes its own layout; in any other file they would be false.
_LAYOUT_TAGS = (
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284),
    *(288, 289, 290, 291, 292, 293, 301, 317, 320, 321, 322, 323, 324, 325, 330, 338, 339),
    *(340, 341, 347, 512, 513, 514, 529, 530, 531, 532, 33723, 34377, 34675),
)
_EXIF_WIDTH, _EXIF_HEIGHT = 0xA002, 0xA003


def photo_from_image(image: Image.Image, name: str) -> Photo:
    """Take a Pillow image apart.

    Args:
        image: of any mode; it is loaded, and its EXIF block is changed.
        name: source for messages.

    Returns:
        The photo, upright.

    Raises:
        InputError: values that are not finite or out of the range of any depth.
    """
    warnings: list[str] = []
    if image.format != "MPO" and getattr(image, "is_animated", False):
        # The second picture of an MPO is a gain map or another eye: nothing is lost.
        warnings.append("holds several frames or pages; only the first is used")
    if _has_deep_colour(image):
        # Pillow decodes 16-bit colour to 8 bits; only greyscale keeps its full depth.
        warnings.append("16-bit colour is read with 8 bits")
    image.load()
    image, exif = _upright(image, warnings)
    icc = image.info.get("icc_profile") or None

    deep = _deep_grey(image, name, warnings)
    if deep is not None:
        plane, alpha = deep
        pixels, greyscale, depth = plane.expand(3, -1, -1).contiguous(), True, 16
    else:
        greyscale, depth = image.mode in ("1", "L", "LA", "La"), 8
        image, icc = _plain_mode(image, greyscale, icc, warnings)
        # (H, W) or (H, W, C) -> (C, H, W)
        planes = torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1) / 255
        colours = 1 if greyscale else 3
        pixels = planes[:colours].expand(3, -1, -1).contiguous()
        alpha = planes[colours:].contiguous() if len(planes) > colours else None

    if icc is not None and profile_space(icc) != ("GRAY" if greyscale else "RGB"):
        warnings.append(f"its colour profile is for {profile_space(icc)} images; it is dropped")
        icc = None
    return Photo(pixels, alpha, greyscale, depth, icc, exif, name, tuple(warnings))


def _has_deep_colour(image: Image.Image) -> bool:
    """Whether the file holds 16-bit colour; only known before the image is loaded."""
    return image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", [])
    )


def _upright(image: Image.Image, warnings: list[str]) -> tuple[Image.Image, bytes | None]:
    """Apply the EXIF orientation; return the image and the EXIF block to keep."""
    try:
        exif = image.getexif()
        turn = _TURN.get(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # the parser raises anything on damaged blocks, and the pixels are fine
        warnings.append("its EXIF block is damaged; it is dropped")
        return image, None
    if turn is not None:
        info = image.info
        image = image.transpose(turn)
        image.info = info
    try:
        return image, _kept_exif(exif, image.size)
    except Exception:  # as above
        warnings.append("its EXIF block is damaged; it is dropped")
        return image, None


def _kept_exif(exif: Image.Exif, size: tuple[int, int]) -> bytes | None:
    """EXIF bytes for an upright PNG of this size, or None if nothing is worth keeping.

    The thumbnail lives in a directory of its own (IFD1), which `tobytes` leaves out.
    """
    for tag in _LAYOUT_TAGS:
        exif.pop(tag, None)
    exif.pop(ExifTags.Base.Orientation, None)
    if not len(exif):
        return None
    exif[ExifTags.Base.Orientation] = 1
    # Asking for a directory that is not there would make an empty one.
    details: dict[int, Any] = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
    for tag, side in zip((_EXIF_WIDTH, _EXIF_HEIGHT), size, strict=True):
        if tag in details:
            details[tag] = side
    return exif.tobytes()


def _deep_grey(
    image: Image.Image, name: str, warnings: list[str]
) -> tuple[Tensor, Tensor | None] | None:
    """Greyscale of more than 8 bits: (1, H, W) in [0, 1] and alpha; None for other modes."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    values: NDArray[Any] = np.asarray(image)
    scale = 65535.0
    if not np.isfinite(values).all():
        raise InputError(f"{name}: holds values that are not finite (NaN or infinity)")
    low, high = values.min(), values.max()
    if image.mode == "F":
        scale = 1.0 if high <= 1 else 255.0
        if scale > 1:
            warnings.append("float values above 1; 255 is taken as white")
        limit = scale
    else:
        limit = 65535
    if low < 0 or high > limit:
        raise InputError(f"{name}: values from {low:g} to {high:g} lie outside 0 to {limit:g}")
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int):
        alpha = torch.from_numpy((values != key).astype(np.float32))[None]
    plane = torch.from_numpy(values.astype(np.float32) / np.float32(scale))[None]
    return plane, alpha


def _plain_mode(
    image: Image.Image, greyscale: bool, icc: bytes | None, warnings: list[str]
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
    mode = "L" if greyscale else "RGB"
    if image.has_transparency_data:
        mode = "LA" if greyscale else "RGBA"
    return (image if image.mode == mode else image.convert(mode)), icc
