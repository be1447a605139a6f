"""Frames of a video, one at a time, as RGB as displayed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from blurvid.errors import InputError, reason
from blurvid.files import content_of, is_special
from blurvid.media.mp4 import EXACT
from blurvid.media.photo import MAX_PIXELS
from blurvid.media.pixels import on_white
from blurvid.media.profile import Pixels
from blurvid.media.timing import Span, Timing, frame_time, timing_of

MAX_FRAMES = 1_000_000
"""Longer videos are refused there: four hours at 60 frames per second."""
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vc1,dv,asf,flv,"
    "ogg,mxf,gif,yuv4mpegpipe,ivf,obu,nut"
)
"""Formats that hold a video themselves: a playlist that poses as one opens other files."""

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that know of transparency."""

# Numbers of ISO/IEC 23091-2, as FFmpeg gives them.
_BT709 = 1
_UNSPECIFIED = 2
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
"""Primaries that BT.709 has no room for."""
_HDR = {16: "HDR, PQ", 18: "HDR, HLG"}
_HD = 720
"""Lines from which a video without a word about its matrix is BT.709: the custom of players."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself."""

    size: tuple[int, int]
    """Height and width as displayed, rotation applied [px]."""
    timing: Timing
    aspect: tuple[int, int] = (1, 1)
    """Width to height of a pixel as displayed, rotation applied."""
    interlaced: bool = False
    colours: str = ""
    """Name of colours that are brought to BT.709 with loss: PQ or HLG (HDR), or wide primaries."""
    alpha: bool = False
    """Whether frames may be partly transparent; they are put on white."""


def holds_video(path: Path | str) -> bool:
    """Whether a file is a video, by its content; where that does not tell, by its suffix.

    Content that no table names is looked through, unless the suffix is one of a photo.
    """
    kind = content_of(path)
    if kind is not None:
        return kind == "video"
    try:
        with open_video(Path(path)):
            return True
    except InputError:
        return False


def video_info(path: Path, span: Span | None = None) -> VideoInfo:
    """Look through a video: when its frames are shown, and how.

    All of the file is read, but only one frame is decoded.

    Args:
        path: the file.
        span: the part that counts; the whole by default.

    Returns:
        What it says.

    Raises:
        InputError: missing, not a video, or too long, or nothing is in that part of it.
    """
    with open_video(path) as (container, stream):
        try:
            timing = timing_of(container, stream, MAX_FRAMES, span)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    if timing.count > MAX_FRAMES:
        raise _too_long(path)
    with open_video(path) as (container, stream):
        frame = next(decoded(container, stream), None)
        if frame is None:
            raise InputError(f"{path}: no frame of it can be decoded")
        height, width = upright(np.empty((frame.height, frame.width)), frame).shape
        ratio = stream.sample_aspect_ratio or Fraction(1)
        aspect = ratio.numerator, ratio.denominator
        if transposed(frame):
            aspect = aspect[::-1]
        fields, alpha = frame.interlaced_frame, has_alpha(frame) and not _is_raw(stream)
        return VideoInfo((height, width), timing, aspect, fields, beyond_bt709(frame), alpha)


def read_video(path: Path, scale: float = 1.0) -> Iterator[Pixels]:
    """Decode a video as `timed_frames` does, the frames alone."""
    return (pixels for _, pixels in timed_frames(path, scale))


def timed_frames(
    path: Path, scale: float = 1.0, timing: Timing | None = None
) -> Iterator[tuple[Fraction | None, Pixels]]:
    """Decode a video, every stored frame once, rotation applied, at constant memory.

    What is damaged is passed over. Dropping or closing the iterator closes the file.

    Args:
        path: the file.
        scale: size of the frames as a share of the video's, see `pixels.scaled_side`.
        timing: where it is that of a part, no other frames are given.

    Yields:
        The time on the clock of the file [s], None if unknown, and the frame: (H, W, 3) uint8 RGB
        (BT.709), an array of its own.

    Raises:
        InputError: missing, not a video, without a frame that can be decoded, or too long.
    """
    with open_video(path) as (container, stream):
        convert = Converter(scale, opaque=_is_raw(stream))
        count = 0
        if timing is not None and timing.cut:
            _seek(container, stream, timing.start)
        for frame in decoded(container, stream):
            time = frame_time(frame)
            if timing is not None and not timing.holds(time):
                if time is not None and time > timing.start:
                    break
                continue
            count += 1
            if count > MAX_FRAMES:
                raise _too_long(path)
            yield time, upright(convert(frame), frame).copy()
        if not count:
            raise InputError(f"{path}: no frame of it can be decoded")


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video by Python: FFmpeg's own ways to files and addresses are never used.

    Yields:
        The container and the first video in it that is not the cover of a song.

    Raises:
        InputError: it cannot be opened, holds no video, or what is done in the block fails.
    """
    path = Path(path)
    try:
        if is_special(path) and not path.is_dir():
            raise InputError(f"{path}: not a file; a video has to be one")
        with (
            path.open("rb") as file,
            av.open(
                file,
                "r",
                options={"format_whitelist": _CONTAINERS, "max_pixels": str(MAX_PIXELS)},
                metadata_errors="replace",
                io_open=refuse,
            ) as container,
        ):
            for stream in container.streams.video:
                if stream.codec_context and not stream.disposition & Disposition.attached_pic:
                    break
            else:
                raise InputError(f"{path}: not a video that can be read")
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as error:
        raise InputError(f"{path}: not a video that can be read: {error.strerror}") from error
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}") from error


def decoded(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Frames of one stream of pictures or sound; what is damaged is passed over."""
    decoder = _decoder(stream)
    for packet in container.demux(stream):
        try:
            frames = decoder.decode(packet)
        except av.error.InvalidDataError:
            continue
        yield from frames


def _decoder(stream: Any) -> Any:
    """What decodes a stream: of VP8 and VP9, FFmpeg's own decoders pass over transparency."""
    told = {key.lower(): value for key, value in stream.metadata.items()}
    name = stream.codec_context.name
    if name not in _WITH_ALPHA or told.get("alpha_mode") != "1":
        return stream.codec_context
    decoder = av.CodecContext.create(_WITH_ALPHA[name], "r")
    decoder.options, decoder.thread_count = stream.codec_context.options, 0
    return decoder


def _is_raw(stream: VideoStream) -> bool:
    """Whether pixels are stored as they are: the fourth byte of each mostly means nothing."""
    return stream.codec_context.name == "rawvideo"


def _seek(container: InputContainer, stream: VideoStream, time: Fraction) -> None:
    """Go to the last picture before a time that needs no other one, or to the beginning.

    Where that leads to is looked at: not all containers know.
    """
    base = stream.time_base or Fraction(1)
    for goal in (int(time / base), stream.start_time or 0):
        container.seek(goal, stream=stream)
        times = (packet.pts for packet in container.demux(stream) if packet.pts is not None)
        found = next(times, None)
        container.seek(goal, stream=stream)
        if found is not None and found * base <= time:
            return


def refuse(url: str, flags: int, options: dict[str, str]) -> None:
    """Open no other file than the one that was named."""
    raise PermissionError(13, "a video that refers to other files is not read")


def _too_long(path: Path) -> InputError:
    return InputError(f"{path}: more than {MAX_FRAMES} frames; cut it into pieces")


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
