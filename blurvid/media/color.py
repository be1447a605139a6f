"""Colour profiles: into sRGB where a file cannot say what its numbers mean."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from blurvid.media.profile import hdr_to_srgb, profile_codes

Pixels = NDArray[np.uint8]

LARGEST_PROFILE = 16_000_000
"""Longest ICC profile [bytes] that is taken for one; JPEG files hold no longer ones."""


def profile_space(icc: bytes) -> str:
    """Colour space named in the header of an ICC profile: `RGB`, `GRAY`, `CMYK`, `Lab`, ..."""
    return icc[16:20].decode("latin-1").strip()


def is_profile(icc: bytes) -> bool:
    """Whether a block of bytes is an ICC profile that can be used."""
    if icc[36:40] != b"acsp" or len(icc) > LARGEST_PROFILE:
        return False
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return True


def image_to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image | None:
    """Convert a CMYK or LAB image to sRGB through its profile.

    Args:
        image: any image in the space of the profile.
        icc: its profile; None means CIE Lab, which needs none.

    Returns:
        An RGB image, or None where the profile is damaged or for another space.
    """
    try:
        source: Any = (
            ImageCms.createProfile("LAB")
            if icc is None
            else ImageCms.ImageCmsProfile(io.BytesIO(icc))
        )
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def srgb_converter(icc: bytes) -> Callable[[Pixels], Pixels]:
    """Make a function that brings frames into sRGB, for formats that carry no profile.

    Args:
        icc: profile of the frames, for RGB or greyscale.

    Returns:
        A function from (H, W, 3) uint8 to (H, W, 3) uint8; it changes nothing where there
        is nothing to do or the profile is damaged.
    """
    mode = {"RGB": "RGB", "GRAY": "L"}.get(profile_space(icc))
    if mode is None:
        return _same
    codes = profile_codes(icc)
    if codes is not None and (shown := hdr_to_srgb(codes)) is not None:
        return lambda frame: np.round(shown(frame / np.float32(255)) * 255).astype(np.uint8)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(profile).lower():
            return _same
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _same

    def convert(frame: Pixels) -> Pixels:
        if mode == "L":
            frame = np.round(frame.mean(-1)).astype(np.uint8)
        shown = ImageCms.applyTransform(Image.fromarray(frame), transform)
        return np.array(shown)

    return convert


def _same(frame: Pixels) -> Pixels:
    return frame
