"""Photos: made of values and what came with them; and what a screen shows of their frames."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid.atomic import stoppable
from blurvid.errors import InputError
from blurvid.media import exif as exif_block
from blurvid.media import packets
from blurvid.media.profile import (
    Codes,
    Colours,
    Pixels,
    is_profile,
    of_codes,
    of_png,
    profile_space,
    srgb_converter,
)

MAX_PIXELS = 400_000_000
"""Larger images are refused before they are decoded."""
LARGEST: dict[str, tuple[int, float]] = {
    "mp4": (16_384, 139_264 * 16**2),
    "webp": (16_383, math.inf),
    "webp-frames": (16_383, math.inf),
    "gif": (65_535, math.inf),
    "jpg": (65_500, math.inf),  # as libjpeg writes it
}
"""Longest side of a frame [px], and most pixels: for an MP4 what x264 takes, and the macroblocks of
the highest level of H.264, beyond which hardly anything plays."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, upright, with what has to be put back when its frames are written.

    Equality is identity, since comparing tensors has no single truth value.
    """

    pixels: Tensor
    """(3, H, W) float32 RGB in [0, 1], EXIF orientation applied; a grey photo has three
    equal channels."""
    alpha: Tensor | None = None
    """(1, H, W) float32 in [0, 1], 0 is transparent; None where the source has none."""
    greyscale: bool = False
    """Whether the source has one colour channel."""
    depth: int = 8
    """Bits per channel of the source: 8 or 16."""
    icc: bytes | None = None
    """ICC profile that says what the numbers of `pixels` mean; None means sRGB."""
    exif: bytes | None = None
    """EXIF block with orientation 1 (it has been applied) and without a thumbnail."""
    xmp: bytes | None = None
    """XMP packet in UTF-8, with orientation 1 and without a thumbnail."""
    iptc: bytes | None = None
    """IPTC records (IIM), as Photoshop's resource 0x0404 holds them."""
    dpi: tuple[float, float] | None = None
    """Pixels an inch, across and down."""
    name: str = "photo"
    """Source for messages; `-` for standard input."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the reading, one line each, without the name."""


Dpi = tuple[float, float]
"""Pixels an inch, across and down."""
_MOST_DPI = 100_000


@dataclass(frozen=True)
class Metadata:
    """What came with an image, as it came."""

    exif: bytes | None = None
    """EXIF block from its byte-order mark on."""
    xmp: bytes | None = None
    icc: bytes | None = None
    problems: tuple[str, ...] = ()
    """What could not be read."""
    turned: bool = False
    """Whether the pixels have been turned upright by whoever decoded them."""
    colours: Colours | None = None
    """What the file says of its colours besides the profile and EXIF."""
    iptc: bytes | None = None
    """IPTC records."""
    dpi: Dpi | None = None

    def told(self, codes: Codes | None, kind: str | None) -> Metadata:
        """The same with the colours that code points name.

        Args:
            codes: of the file.
            kind: its format; in a PNG they count more than the profile.
        """
        colours = None if codes is None else of_codes(codes)
        if colours is None:
            return self
        return dataclasses.replace(self, colours=colours, icc=None if kind == "PNG" else self.icc)

    @property
    def orientation(self) -> int:
        """How the pixels lie: 1 to 8, as in EXIF; 1 is upright."""
        found = None
        if not self.turned and self.exif is not None:
            found = exif_block.orientation_of(self.exif)
        if not self.turned and found is None and self.xmp is not None:
            found = packets.orientation_of(self.xmp)
        return found or 1

    @property
    def upright_dpi(self) -> Dpi | None:
        """Pixels an inch of the upright picture, across and down."""
        found = self.dpi
        if found is None and self.exif is not None:
            found = sensible_dpi(exif_block.dpi_of(self.exif))
        return found[::-1] if found is not None and self.orientation >= 5 else found

    def profile(self, grey: bool) -> bytes | None:
        """ICC profile made of what else tells what the numbers mean; None for sRGB."""
        told = self.colours
        if told is None and self.exif is not None:
            told = exif_block.colours_of(self.exif)
        return None if told is None else told.profile(grey)

    def kept(
        self, size: tuple[int, int], warnings: list[str]
    ) -> tuple[bytes | None, bytes | None, bytes | None]:
        """What the frames of a photo take over: EXIF block, XMP packet and ICC profile.

        Args:
            size: width and height of the frames [px].
            warnings: gets a line for everything that is damaged.
        """
        warnings += self.problems
        exif = xmp = None
        if self.exif is not None:
            try:
                exif, lost = exif_block.kept_exif(self.exif, size)
                if lost:
                    warnings.append("parts of its EXIF block are damaged; they are dropped")
            except (ValueError, struct.error):
                warnings.append("its EXIF block is damaged; it is dropped")
        if self.xmp is not None:
            try:
                xmp = packets.kept_xmp(self.xmp)
                if xmp is None:
                    warnings.append(
                        "its XMP block is about what else is in the file (motion, depth, gain "
                        "map); it is dropped"
                    )
            except ValueError:
                warnings.append("its XMP block is damaged; it is dropped")
        if self.icc is not None and not is_profile(self.icc):
            warnings.append("its colour profile is damaged; it is dropped")
            return exif, xmp, None
        return exif, xmp, self.icc


def metadata_of(info: Mapping[Any, Any], segments: Sequence[tuple[str, bytes]] = ()) -> Metadata:
    """Gather metadata from what Pillow or pillow-heif found beside the pixels.

    Args:
        info: what it found.
        segments: of a JPEG, each with the name of its mark.
    """
    problems = []
    blocks: dict[str, Any] = {}
    for name in ("exif", "xmp", "iptc"):
        try:
            blocks[name] = _raw_profile(info.get(f"Raw profile type {name}"))
        except ValueError:
            problems.append(f"its {name.upper()} block is damaged; it is dropped")
    exif = info.get("exif") or blocks.get("exif")
    exif = exif.removeprefix(exif_block.EXIF_PREFIX) if isinstance(exif, bytes) else None
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or blocks.get("xmp")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if isinstance(xmp, bytes):
        whole = packets.extended_xmp(xmp, segments)
        if whole is None:
            problems.append("the long part of its XMP block is damaged; it is dropped")
        xmp = whole or xmp
    iptc = info.get("photoshop", blocks.get("iptc"))
    iptc = iptc.get(packets.RESOURCE) if isinstance(iptc, Mapping) else iptc
    icc = info.get("icc_profile")
    if icc is None and "icc_profile" in info:
        problems.append("its colour profile is damaged; it is dropped")
    colours = Colours() if "srgb" in info else None
    if colours is None and ("gamma" in info or "chromaticity" in info):  # of a PNG
        colours = of_png(info.get("gamma"), info.get("chromaticity"))
        if colours is None:
            problems.append("what it says of its colours makes no sense; it is taken for sRGB")
    return Metadata(
        exif or None,
        xmp if isinstance(xmp, bytes) and xmp else None,
        icc if isinstance(icc, bytes) and icc else None,
        tuple(problems),
        colours=colours,
        iptc=packets.iptc_of(iptc) if isinstance(iptc, bytes) else None,
        dpi=sensible_dpi(info.get("dpi")),
    )


def _raw_profile(text: object) -> bytes | None:
    """A block that ImageMagick keeps as text in a PNG: a name, a count, then hex.

    Raises:
        ValueError: it is damaged.
    """
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None


def sensible_dpi(found: Any) -> Dpi | None:
    """A resolution, whatever a file holds for one; None where it makes no sense."""
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
        across, down = map(float, found)
        if all(1 <= side <= _MOST_DPI for side in (across, down)):
            return across, down
    return None


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
    exif, xmp, icc = found.kept((values.shape[1], values.shape[0]), warnings)
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


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, C) as the EXIF orientation says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


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
    found = levels(frames, 255)
    return np.ascontiguousarray(np.moveaxis(found, -3, -1).astype(np.uint8))


def flat_frames(frames: Tensor, photo: Photo | None, kind: str = "") -> list[Pixels]:
    """Make uint8 sRGB frames without transparency, of frames (T, 3, H, W).

    Args:
        frames: RGB in [0, 1].
        photo: what they came from.
        kind: of file, in which they have to fit; any by default.

    Returns:
        (H, W, 3) each, smaller where they do not fit.
    """
    icc, alpha = (photo.icc, photo.alpha) if photo is not None else (None, None)
    convert = None if icc is None else srgb_converter(icc)
    if alpha is not None and alpha.shape[-2:] != frames.shape[-2:]:
        sides = f"{tuple(frames.shape[-2:])} and {tuple(alpha.shape[-2:])}"
        raise ValueError(f"frames and alpha differ in size: {sides}")
    flat = []
    for frame in stoppable(frames):
        if alpha is not None:
            solid = alpha.to(frame)
            frame = frame.clamp(0, 1) * solid + (1 - solid)
        pixels = to_uint8(frame)
        flat.append(fitted(pixels if convert is None else convert(pixels), kind))
    return flat


def fitting(kind: str, height: int, width: int) -> tuple[int, int]:
    """The size, in the same shape, in which a kind of file holds a frame: its own where it can."""
    side, pixels = LARGEST.get(kind, (math.inf, math.inf))
    scale = min(1.0, side / max(height, width), math.sqrt(pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def fitted(frame: Pixels, kind: str) -> Pixels:
    """A frame (H, W, 3) in the size that `fitting` gives."""
    size = fitting(kind, *frame.shape[:2])
    if size == frame.shape[:2]:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))


def levels(values: Tensor, limit: int) -> NDArray[np.float32]:
    """Scale [0, 1] to whole numbers in [0, limit], as floats."""
    if not values.is_floating_point():
        raise ValueError(f"values of {values.dtype}; floats in [0, 1] are needed")
    scaled = values.detach().to("cpu").float().clamp(0, 1).mul_(limit).round_()
    if scaled.isnan().any():
        raise ValueError("values that are not a number (NaN)")
    found: NDArray[np.float32] = scaled.numpy()
    return found
