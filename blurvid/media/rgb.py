"""Decoded frames of a video to RGB as displayed, and the filter by which they are shrunk."""

from __future__ import annotations

import math
from typing import Any

import av
import numpy as np
import torch.nn.functional as F
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

from blurvid.media.pixels import on_white

FILTER = "bicubic, antialiased"
"""Cubic convolution with a = -1/2 (Keys 1981), as wide as the smaller image's pixels."""
FILTER_VIDEO = f"{FILTER}, by ffmpeg before the conversion to RGB"
"""The same for videos; the result is rounded to 8 bits."""
EXACT = "bicubic+accurate_rnd+full_chroma_int"
"""Flags of ffmpeg's scaler; its quick conversion makes every frame a level darker (measured)."""

# Numbers of ISO/IEC 23091-2, as FFmpeg gives them.
_BT709 = 1
_UNSPECIFIED = 2
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
"""Primaries that BT.709 has no room for."""
_HDR = {16: "HDR, PQ", 18: "HDR, HLG"}
_HD = 720
"""Lines from which a video without a word about its matrix is BT.709: the custom of players."""


def beyond_bt709(frame: VideoFrame) -> str:
    """Name of colours or brightness that BT.709 has no room for; empty if there are none."""
    return _HDR.get(frame.color_trc) or _WIDE.get(frame.color_primaries, "")


def has_alpha(frame: VideoFrame) -> bool:
    """Whether a frame may be partly transparent."""
    return any(component.is_alpha for component in frame.format.components)


class Converter:
    """Frames to RGB of BT.709, on white where they are transparent, scaled by `FILTER`.

    Args:
        scale: size as a share of the video's.
        opaque: what is said of transparency means nothing.
    """

    def __init__(self, scale: float, opaque: bool = False) -> None:
        self.scale, self.opaque = scale, opaque
        self.kind: tuple[object, ...] = ()
        self.graph = av.filter.Graph()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Convert a frame; what it says about its colours is completed."""
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb and frame.height >= _HD:
            frame.colorspace = _BT709
        mapped = ""
        if beyond_bt709(frame):
            mapped = ":out_primaries=bt709:out_transfer=bt709:intent=perceptual"
            if frame.color_trc not in _HDR:  # the other curves are so alike that they are kept
                frame.color_trc = _BT709
                mapped = mapped.replace("perceptual", "relative_colorimetric")
        args = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1"
            f":colorspace={frame.colorspace}:range={frame.color_range}"
        )
        alpha = has_alpha(frame) and not self.opaque
        kind = (args, mapped)
        if kind != self.kind:
            graph = av.filter.Graph()
            nodes = [
                graph.add("buffer", args),
                graph.add("scale", video_filter(self.scale) + mapped),
                # Twice as fast as straight to the last format.
                graph.add("format", "gbrap" if alpha else "gbrp"),
                graph.add("format", "rgba" if alpha else "rgb24"),
                graph.add("buffersink"),
            ]
            graph.link_nodes(*nodes).configure()
            self.kind, self.graph = kind, graph
        self.graph.vpush(frame)
        pixels = np.asarray(self.graph.vpull().to_ndarray(), np.uint8)
        return on_white(pixels) if alpha else pixels


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """How a frame is turned and mirrored for display: x to (a x + c y), y to (b x + d y)."""
    notes: Any = frame.side_data
    if SideDataType.DISPLAYMATRIX not in notes:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(notes[SideDataType.DISPLAYMATRIX], np.int32)[:5].tolist()
    return a, b, c, d


def transposed(frame: VideoFrame) -> bool:
    """Whether rows and columns change places for display."""
    a, b, _, _ = _matrix(frame)
    return abs(b) > abs(a)


def upright(pixels: NDArray[Any], frame: VideoFrame) -> NDArray[Any]:
    """A view of pixels (H, W, ...) as they are to be displayed, by quarter turns."""
    a, b, c, d = _matrix(frame)
    if transposed(frame):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def scaled_side(side: int, scale: float) -> int:
    """Side of a scaled image [px], at least one."""
    return max(1, math.floor(side * scale + 0.5))


def scaled(image: Tensor, scale: float) -> Tensor:
    """Scale an image (3, H, W) in [0, 1], by `FILTER`."""
    if scale == 1:
        return image
    size = [scaled_side(side, scale) for side in image.shape[-2:]]
    out = F.interpolate(image[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return out[0].clamp(0, 1)  # bicubic overshoots at edges


def video_filter(scale: float) -> str:
    """Arguments that make FFmpeg's scaler work by `FILTER`, exactly; `scale` may be 1."""
    width, height = (f"'max(1,floor({side}*{scale!r}+0.5))'" for side in ("iw", "ih"))
    return f"w={width}:h={height}:param0=0:param1=0.5:flags={EXACT}"
