"""What a photo is once it has been read, and how one is made of pixels and what came with them."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid.errors import InputError
from blurvid.media import exif as exif_block
from blurvid.media import packets
from blurvid.media.profile import Codes, Colours, is_profile, of_codes, of_png, profile_space

MAX_PIXELS = 400_000_000
"""Larger images are refused before they are decoded."""


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


_SLACK = 1e-3
"""How far float values may leave [0, 1], for rounding; they are clamped."""


def photo_from_array(value: NDArray[Any] | Tensor, name: str) -> Photo:
    """Make a photo of an array or a tensor, see `read.as_photo`; it shares no memory with it."""
    if isinstance(value, Tensor):
        value = _channels_last(value, name)
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


def _channels_last(value: Tensor, name: str) -> NDArray[np.float32]:
    """Check a tensor; return (H, W, 3)."""
    image = value[0] if value.ndim == 4 and value.shape[0] == 1 else value
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        shape = tuple(value.shape)
        raise InputError(f"{name}: a tensor of shape {shape}; (3, H, W) or (1, 3, H, W) is needed")
    if not image.is_floating_point():
        raise InputError(f"{name}: a tensor of {value.dtype}; floats in [0, 1] are needed")
    return np.asarray(image.detach().movedim(0, -1).to("cpu", torch.float32))


def _unit_range(image: Tensor, name: str) -> Tensor:
    """Clamp what rounding put outside [0, 1]; refuse more than that."""
    low, high = image.min().item(), image.max().item()
    if not image.isfinite().all():
        raise InputError(f"{name}: holds values that are not finite (NaN or infinity)")
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(f"{name}: floats from {low:g} to {high:g}; values in [0, 1] are needed")
    return image.clamp(0, 1)
