"""Motion to files: Middlebury .flo, numpy .npy, and a picture in colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurvid.flow import Field
from blurvid.media.trust import legend

_MAGIC = b"PIEH"
"""First bytes of a .flo file; as a little-endian float32, 202021.25."""
_AT_ONCE = 1 << 18
"""Pixels brought to full size in one piece."""
_ARCS = (15, 6, 4, 11, 13, 6)
"""Hues from red to yellow, to green, to cyan, to blue, to magenta, and back to red, as many as
can be told apart there (Baker et al. 2011, after their published code)."""
_LEGEND = 120
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
    below = _legend(longest)
    page = Image.new("RGB", (max(width, below.width), height + below.height), "white")
    page.paste(Image.fromarray(colors), (0, 0))
    page.paste(below, (0, height))
    return page


def _legend(longest: float) -> Image.Image:
    """The wheel of colours, and how long a vector on its rim is."""
    radius = _LEGEND // 2 - 10
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
    wheel = flow_colors(np.stack([x, y], axis=-1))
    wheel[np.hypot(x, y) > 1] = 255
    return legend(Image.fromarray(wheel), f"rim: {longest:.1f} px", _LEGEND)


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
