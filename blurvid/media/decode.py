"""From decoded pixels, or an image in memory, to a `Photo`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile
from torch import Tensor

from blurvid.errors import InputError
from blurvid.media.color import image_to_srgb, profile_space
from blurvid.media.metadata import Metadata, kept, metadata_of
from blurvid.media.photo import Photo
from blurvid.media.profile import Codes, Colours

MAX_PIXELS = 400_000_000
"""Larger images are refused before they are decoded."""
_TIFF_BITS = 258


def check_size(size: tuple[int, int], name: str) -> None:
    """Refuse an image that would need too much memory, before it is decoded."""
    width, height = size
    if min(width, height) < 1:
        raise InputError(f"{name}: an image without pixels")
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise InputError(f"{name}: {width} x {height} pixels are more than {limit}")


def photo_from_values(
    values: NDArray[Any],
    top: float,
    found: Metadata,
    name: str,
    *,
    depth: int = 8,
    warnings: list[str],
) -> Photo:
    """Make a photo of decoded values and of what came with them.

    Args:
        values: (H, W, C) with C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha, as stored.
        top: the value that is white.
        found: metadata of the file.
        name: source for messages.
        depth: bits per channel, 8 or 16.
        warnings: what there is to say about the reading so far.

    Returns:
        The photo, upright.
    """
    values = _upright(values, found.orientation)
    exif, xmp, icc = kept(found, (values.shape[1], values.shape[0]), warnings)
    colours = 1 if values.shape[2] < 3 else 3
    if icc is not None and profile_space(icc) != ("GRAY" if colours == 1 else "RGB"):
        warnings.append(f"its colour profile is for {profile_space(icc)} images; it is dropped")
        icc = None
    if icc is None:
        icc = found.profile(colours == 1)
    # (H, W, C) -> (C, H, W)
    scaled = np.array(np.moveaxis(values, -1, 0), np.float32, order="C")
    scaled /= np.float32(top)
    planes = torch.from_numpy(scaled)
    return Photo(
        pixels=planes[:colours].expand(3, -1, -1).contiguous(),
        alpha=planes[colours:].clone() if len(planes) > colours else None,
        greyscale=colours == 1,
        depth=depth,
        icc=icc,
        exif=exif,
        xmp=xmp,
        iptc=found.iptc,
        dpi=found.upright_dpi,
        name=name,
        warnings=tuple(warnings),
    )


def photo_from_image(
    image: Image.Image,
    name: str,
    found: Metadata | None = None,
    warnings: list[str] | None = None,
    codes: Codes | None = None,
) -> Photo:
    """Take a Pillow image apart.

    Args:
        image: of any mode; it is loaded.
        name: source for messages.
        found: metadata of its file, where the caller has it from elsewhere.
        warnings: what there is to say about the reading so far.
        codes: code points of its colours.

    Returns:
        The photo, upright.

    Raises:
        InputError: values that are not finite or out of the range of any depth.
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


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, C) as the EXIF orientation says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


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


_SLACK = 1e-3
"""How far float values may leave [0, 1], for rounding; they are clamped."""


def photo_from_array(value: Image.Image | NDArray[Any] | Tensor, name: str = "image") -> Photo:
    """Make a photo of an image in memory.

    Args:
        value: a Pillow image; a numpy array (H, W), (H, W, 3) or (H, W, 4), RGB, uint8,
            uint16, or float in [0, 1]; or a float tensor (3, H, W) or (1, 3, H, W), RGB in
            [0, 1], on any device.
        name: name for messages.

    Returns:
        The photo, on the CPU; it shares no memory with `value`.

    Raises:
        InputError: another type or shape, no pixels, values not finite or out of range.
    """
    if isinstance(value, Image.Image):
        if 0 in value.size:
            raise InputError(f"{name}: an image without pixels")
        try:
            return photo_from_image(value.copy(), name)
        except OSError as error:
            raise InputError(f"{name}: {error}") from error
    if isinstance(value, Tensor):
        value = _channels_last(value, name)
    if isinstance(value, np.ndarray):
        return _from_numpy(value, name)
    raise InputError(f"{name}: cannot make a photo of a {type(value).__name__}")


def _channels_last(value: Tensor, name: str) -> NDArray[np.float32]:
    """Check a tensor; return (H, W, 3)."""
    image = value[0] if value.ndim == 4 and value.shape[0] == 1 else value
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        shape = tuple(value.shape)
        raise InputError(f"{name}: a tensor of shape {shape}; (3, H, W) or (1, 3, H, W) is needed")
    if not image.is_floating_point():
        raise InputError(f"{name}: a tensor of {value.dtype}; floats in [0, 1] are needed")
    return np.asarray(image.detach().movedim(0, -1).to("cpu", torch.float32))


def _from_numpy(value: NDArray[Any], name: str) -> Photo:
    """Check an array and split colours from alpha."""
    if value.ndim not in (2, 3) or value.size == 0 or value.shape[2:] not in ((), (3,), (4,)):
        raise InputError(
            f"{name}: an array of shape {value.shape}; (H, W), (H, W, 3) or (H, W, 4) is needed"
        )
    if value.dtype == np.uint8:
        limit, depth = 255, 8
    elif value.dtype == np.uint16:
        limit, depth = 65535, 16
    elif np.issubdtype(value.dtype, np.floating):
        limit, depth = 1, 8
    else:
        raise InputError(
            f"{name}: an array of {value.dtype}; uint8, uint16 or float in [0, 1] is needed"
        )
    photo = photo_from_values(
        np.atleast_3d(value), limit, Metadata(), name, depth=depth, warnings=[]
    )
    pixels = _unit_range(photo.pixels, name)
    alpha = None if photo.alpha is None else _unit_range(photo.alpha, name)
    return dataclasses.replace(photo, pixels=pixels, alpha=alpha)


def _unit_range(image: Tensor, name: str) -> Tensor:
    """Clamp what rounding put outside [0, 1]; refuse more than that."""
    low, high = image.min().item(), image.max().item()
    if not image.isfinite().all():
        raise InputError(f"{name}: holds values that are not finite (NaN or infinity)")
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(f"{name}: floats from {low:g} to {high:g}; values in [0, 1] are needed")
    return image.clamp(0, 1)
