"""Arrays: of a video's decoded frames, photos made of them, and frames as a file holds them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

from blurvid.errors import InputError
from blurvid.media.mp4 import EXACT
from blurvid.media.photo import Metadata, Photo, levels, photo_from_values
from blurvid.media.profile import Pixels

FILTER = "bicubic, antialiased"
"""Cubic convolution with a = -1/2 (Keys 1981), as wide as the smaller image's pixels."""
FILTER_VIDEO = f"{FILTER}, by ffmpeg before the conversion to RGB"
"""The same for videos; the result is rounded to 8 bits."""

# Numbers of ISO/IEC 23091-2, as FFmpeg gives them.
_BT709 = 1
_UNSPECIFIED = 2
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
"""Primaries that BT.709 has no room for."""
_HDR = {16: "HDR, PQ", 18: "HDR, HLG"}
_HD = 720
"""Lines from which a video without a word about its matrix is BT.709: the custom of players."""
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


def frame_pixels(image: Tensor, photo: Photo | None, depth: int | None = None) -> NDArray[Any]:
    """Round an image to what a file with all that its photo has would hold.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        photo: gives alpha, depth, and whether it is greyscale.
        depth: 8 or 16 bits per channel, whatever the photo has.

    Returns:
        uint8, or uint16 for 16 bits: (H, W) for grey, (H, W, 2) for grey and
        alpha, (H, W, 3) for colour, (H, W, 4) for colour and alpha.

    Raises:
        ValueError: another shape than (3, H, W) or than the photo's alpha, or NaN values.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image of shape {tuple(image.shape)}; (3, H, W) is needed")
    depth = depth or (photo.depth if photo is not None else 8)
    limit, dtype = (65535, np.uint16) if depth == 16 else (255, np.uint8)
    grey = photo is not None and photo.greyscale
    planes = [levels(image.float().mean(0, keepdim=True) if grey else image, limit)]
    if photo is not None and photo.alpha is not None:
        if photo.alpha.shape[-2:] != image.shape[-2:]:
            sides = f"{tuple(image.shape[-2:])} and {tuple(photo.alpha.shape[-2:])}"
            raise ValueError(f"image and alpha differ in size: {sides}")
        planes.append(levels(photo.alpha, limit))
    # (C, H, W) -> (H, W, C)
    pixels = np.moveaxis(np.concatenate(planes).astype(dtype), 0, -1)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def on_white(pixels: Pixels) -> Pixels:
    """Put pixels (H, W, C) whose last channel is alpha on white: (H, W, C - 1)."""
    solid = pixels[..., -1:] / np.float32(255)
    return np.round(pixels[..., :-1] * solid + 255 * (1 - solid)).astype(np.uint8)


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


def video_filter(scale: float) -> str:
    """Arguments that make FFmpeg's scaler work by `FILTER`, exactly; `scale` may be 1."""
    width, height = (f"'max(1,floor({side}*{scale!r}+0.5))'" for side in ("iw", "ih"))
    return f"w={width}:h={height}:param0=0:param1=0.5:flags={EXACT}"
