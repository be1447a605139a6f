"""What a photo is once it has been read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
