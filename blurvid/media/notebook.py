"""Frames as notebooks show them: an animation inside of the page, at most so large."""

from __future__ import annotations

import base64
import html
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from blurvid.config import ClipOptions
from blurvid.media.clip import flat_frames
from blurvid.media.photo import Photo
from blurvid.media.webp import save_webp

LONGEST_SIDE = 640
"""Largest width and height [px]; a notebook keeps all that it has shown."""


def animation(frames: Tensor, photo: Photo) -> str:
    """Play frames forth and back, for ever, as an HTML element that needs nothing else.

    An image, not a video or the player: notebooks that are not trusted, and sites that show them,
    leave out scripts and videos.

    Args:
        frames: (T, 3, H, W) float RGB in [0, 1].
        photo: what they came from.

    Returns:
        A `figure`.
    """
    images = [Image.fromarray(frame) for frame in flat_frames(frames, photo)]
    for image in images:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    forth = list(range(len(images)))
    with tempfile.TemporaryDirectory(prefix="blurvid-") as folder:
        path = Path(folder) / "clip.webp"
        pixels = [np.asarray(image) for image in images]
        save_webp(pixels, forth + forth[-2:0:-1], path, ClipOptions().fps)
        data = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(Path(photo.name).name.encode("utf-8", "replace").decode())
    return (
        f'<figure><img alt="{len(images)} frames of {name}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{name}: {len(images)} frames</figcaption></figure>"
    )
