"""Maps of errors, and their colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FULL_ERROR = 0.15
"""Error of the frames that has full colour, 1 being white; an error of this everywhere is a PSNR
of 16 dB."""
FULL_REBLUR = 0.02
"""The same for the average of the frames, 34 dB."""

_COLORS = ((40, 0, 80), (150, 20, 110), (230, 70, 50), (250, 170, 30), (255, 255, 160))
"""From no error to full colour, lighter and lighter."""
_FONT = 18
"""Height of the letters of a legend [px]."""
_CLEAR = 0.25
"""Share of full colour from which a map hides what is below it as far as it ever does..."""
_DENSE = 0.8
"""...which is so much of it."""


@dataclass(frozen=True, eq=False)
class TrustMaps:
    """Where frames can be believed; root mean squares, 1 being white."""

    error: Tensor
    """Error of the frames that is to be expected, (h, w), of the whole photo at any size."""
    reblur: Tensor
    """Difference between their average and the photo, (h, w)."""


def colored(plane: Tensor, full: float) -> NDArray[np.uint8]:
    """Colour a map; where there is no error it is transparent.

    Args:
        plane: (h, w), from 0 upwards.
        full: what has full colour.

    Returns:
        (h, w, 4) uint8 RGBA.
    """
    share = np.clip(plane.cpu().numpy().astype(np.float64) / full, 0, 1)
    stops = np.linspace(0, 1, len(_COLORS))
    planes = [np.interp(share, stops, channel) for channel in zip(*_COLORS, strict=True)]
    planes.append(255 * _DENSE * np.minimum(1, share / _CLEAR))
    levels: NDArray[np.uint8] = np.stack(planes, axis=-1).round().astype(np.uint8)
    return levels


def legend(picture: Image.Image, text: str, height: int) -> Image.Image:
    """A small picture of colours, with what they mean on its right."""
    font = ImageFont.load_default(_FONT)
    page = Image.new("RGB", (picture.width + 30 + round(font.getlength(text)), height), "white")
    page.paste(picture, (10, (height - picture.height) // 2))
    at = picture.width + 20, height // 2
    ImageDraw.Draw(page).text(at, text, fill="black", font=font, anchor="lm")
    return page
