"""Motion and trust to files: numbers, and pictures in colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blurvid.flow import Field
from blurvid.flow.sampling import limited
from blurvid.media.photo import Photo, flat_frames

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
_PICTURE_SIDE = 1280
"""Larger photos are drawn at this long side [px]."""
_LEGEND = 60
"""Height of the legend below each map [px]."""
_PALE = 0.35
"""How much is left of the photo below a map."""


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


def save_trust(maps: TrustMaps, path: Path, photo: Photo) -> None:
    """Write maps to a file that is new, by its suffix.

    `.npy` holds (H, W, 2) float32, errors of the frames as they are expected and of their average
    as it is, both root mean squares, 1 being white. `.png` draws both over the photo, at most
    1280 px wide and high each, with what the colours mean.
    """
    height, width = photo.pixels.shape[-2:]
    with path.open("xb") as file:
        if path.suffix.lower() == ".png":
            trust_picture(maps, photo).save(file, format="PNG")
        else:
            planes = (_full(plane, height, width) for plane in (maps.error, maps.reblur))
            np.save(file, np.stack(list(planes), axis=-1))


def _full(plane: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """A map at full size, (H, W); a cell has one value."""
    low, narrow = plane.shape
    rows, columns = np.arange(height) * low // height, np.arange(width) * narrow // width
    return plane.cpu().numpy()[np.ix_(rows, columns)].astype("<f4")


def trust_picture(maps: TrustMaps, photo: Photo) -> Image.Image:
    """Draw the error expected and, below it, that of the re-blur over a pale photo."""
    pixels = limited(photo.pixels[None], _PICTURE_SIDE)
    (seen,) = flat_frames(pixels, Photo(pixels[0], icc=photo.icc, name=photo.name))
    ground = Image.fromarray(seen).convert("L").convert("RGB")
    ground = Image.blend(Image.new("RGB", ground.size), ground, _PALE)
    parts = [
        (maps.error, FULL_ERROR, "error to expect of the frames"),
        (maps.reblur, FULL_REBLUR, "what their average does not explain"),
    ]
    legends = [_legend(full, text) for _, full, text in parts]
    width = max(ground.width, *(below.width for below in legends))
    page = Image.new("RGB", (width, 2 * (ground.height + _LEGEND)), "white")
    for number, ((plane, full, _), below) in enumerate(zip(parts, legends, strict=True)):
        top = number * (ground.height + _LEGEND)
        over = Image.fromarray(colored(plane, full)).resize(ground.size, Image.Resampling.BILINEAR)
        page.paste(Image.alpha_composite(ground.convert("RGBA"), over).convert("RGB"), (0, top))
        page.paste(below, (0, top + ground.height))
    return page


def _legend(full: float, text: str) -> Image.Image:
    """The colours, and what they mean."""
    ramp = Image.fromarray(colored(torch.linspace(0, full, 160).expand(20, -1), full))
    ramp = Image.alpha_composite(Image.new("RGBA", ramp.size, "black"), ramp).convert("RGB")
    return legend(ramp, f"0 to {255 * full:.0f} of 255: {text}", _LEGEND)


_MAGIC = b"PIEH"
"""First bytes of a .flo file; as a little-endian float32, 202021.25."""
_AT_ONCE = 1 << 18
"""Pixels brought to full size in one piece."""
_ARCS = (15, 6, 4, 11, 13, 6)
"""Hues from red to yellow, to green, to cyan, to blue, to magenta, and back to red, as many as
can be told apart there (Baker et al. 2011, after their published code)."""
_WHEEL_HEIGHT = 120
"""Height of the legend below the picture [px]."""


def save_flow(field: Field, path: Path) -> None:
    """Write a flow to a file that is new, by its suffix.

    `.flo` (Middlebury) and `.npy` ((H, W, 2) float32) hold the displacements at full size [px],
    x to the right, y downwards. `.png` is a picture of at most 1280 px: hue is direction,
    saturation length, as the legend below it says.
    """
    suffix = path.suffix.lower()
    with path.open("xb") as file:
        if suffix == ".png":
            flow_picture(field).save(file, format="PNG")
        elif suffix == ".npy":
            np.save(file, flow_array(field))
        else:
            height, width = field.size
            file.write(_MAGIC + np.array([width, height], "<i4").tobytes())
            file.write(flow_array(field).data)


def flow_array(field: Field) -> NDArray[np.float32]:
    """All of a flow at full size, (H, W, 2) float32 [px], x to the right, y downwards."""
    height, width = field.size
    out = np.empty((height, width, 2), "<f4")
    step = max(1, _AT_ONCE // width)
    for top in range(0, height, step):
        rows = field.rows(top, min(top + step, height)).cpu().numpy()
        out[top : top + step] = np.moveaxis(rows, 0, -1)
    return out


def flow_picture(field: Field) -> Image.Image:
    """Draw a flow in the colours of Baker et al. with a legend below.

    The picture has the size at which the flow was measured; its longest vector has full colour.
    """
    vectors = np.moveaxis(field.vectors.cpu().numpy(), 0, -1)
    longest = field.motion.longest
    colors = flow_colors(vectors / max(longest, 1e-6))
    height, width = colors.shape[:2]
    below = _wheel_legend(longest)
    page = Image.new("RGB", (max(width, below.width), height + below.height), "white")
    page.paste(Image.fromarray(colors), (0, 0))
    page.paste(below, (0, height))
    return page


def _wheel_legend(longest: float) -> Image.Image:
    """The wheel of colours, and how long a vector on its rim is."""
    radius = _WHEEL_HEIGHT // 2 - 10
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
    wheel = flow_colors(np.stack([x, y], axis=-1))
    wheel[np.hypot(x, y) > 1] = 255
    return legend(Image.fromarray(wheel), f"rim: {longest:.1f} px", _WHEEL_HEIGHT)


def flow_colors(vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """Colour vectors: hue is direction, white is no motion.

    As in Baker et al., "A Database and Evaluation Methodology for Optical Flow" (IJCV 2011).

    Args:
        vectors: (H, W, 2), x to the right, y downwards; 1 is the length of full colour.

    Returns:
        (H, W, 3) uint8 RGB; longer vectors than 1 are darker.
    """
    wheel = _wheel()
    x, y = np.moveaxis(vectors.astype(np.float64), -1, 0)
    length = np.hypot(x, y)[..., None]
    hue = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)  # 0 .. number of colours - 1
    below = np.floor(hue).astype(int)
    part = (hue - below)[..., None]
    color = (1 - part) * wheel[below] + part * wheel[(below + 1) % len(wheel)]
    color = np.where(length <= 1, 1 - length * (1 - color), 0.75 * color)
    levels: NDArray[np.uint8] = np.round(255 * color).astype(np.uint8)
    return levels


def _wheel() -> NDArray[np.float64]:
    """The 55 hues, (55, 3) RGB in [0, 1]."""
    corners = np.array(
        [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)], float
    )
    arcs = [
        start + np.arange(count)[:, None] / count * (end - start)
        for start, end, count in zip(corners, corners[1:], _ARCS, strict=False)
    ]
    return np.concatenate(arcs)
