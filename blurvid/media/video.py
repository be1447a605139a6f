"""Frames of a video, one at a time, and when they are shown."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from blurvid.errors import InputError, reason
from blurvid.files import content_of, is_special
from blurvid.media.photo import MAX_PIXELS
from blurvid.media.pixels import Converter, beyond_bt709, has_alpha, transposed, upright
from blurvid.media.profile import Pixels

MAX_FRAMES = 1_000_000
"""Longer videos are refused there: four hours at 60 frames per second."""
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vc1,dv,asf,flv,"
    "ogg,mxf,gif,yuv4mpegpipe,ivf,obu,nut"
)
"""Formats that hold a video themselves: a playlist that poses as one opens other files."""

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that know of transparency."""
Span: TypeAlias = tuple[Fraction, Fraction | None]
"""A part of a video: its begin, after the first picture, and its length [s]; None goes to the
end."""


@dataclass(frozen=True)
class Timing:
    """When the frames of a video are shown, in whole ticks after the first.

    At a constant rate a tick is the time of a frame, whatever the container rounds to.
    """

    start: Fraction
    """Time of the first frame on the clock of the file [s]."""
    tick: Fraction | None
    """[s]; None if the video does not tell, and frames are evenly apart."""
    count: int
    """Number of frames."""
    end: int
    """When the last one ends [ticks]."""
    cut: bool = False
    """Whether this is a part of the video."""

    @property
    def rate(self) -> Fraction | None:
        """Frames per second, on average; None if the video does not tell."""
        return self.count / (self.end * self.tick) if self.tick else None

    @property
    def stop(self) -> Fraction | None:
        """When the last frame of a part ends, on the clock of the file [s]; None of a whole."""
        return self.start + self.end * self.tick if self.cut and self.tick else None

    def holds(self, time: Fraction | None) -> bool:
        """Whether a frame is in it, by its time on the clock of the file [s]."""
        if self.stop is None or self.tick is None:
            return True
        return time is not None and self.start <= time < self.stop - self.tick / 2

    def place(self, time: Fraction | None, before: int) -> int:
        """The tick of a frame, later than the one before it.

        Args:
            time: on the clock of the file [s]; None if unknown.
            before: tick of the frame before; -1 for the first.
        """
        if time is None or not self.tick:
            return before + 1
        return max(before + 1, round((time - self.start) / self.tick))


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
            timing = _timing_of(container, stream, span)
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


def _timing_of(container: InputContainer, stream: VideoStream, span: Span | None) -> Timing:
    """Find out from the packets when frames are shown, and whether that is at a constant rate.

    Args:
        container: a video; it is read to its end, or beyond `MAX_FRAMES`.
        stream: its pictures.
        span: the part that counts; the whole by default.

    Raises:
        ValueError: nothing is in that part, or the video does not tell what is.
    """
    base = stream.time_base or Fraction(1)
    ticks: list[int] = []
    count, last = 0, (0, 0)
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            count += 1
            if count > MAX_FRAMES:
                break
            if packet.pts is not None:
                last = max((packet.pts, packet.duration or 0), last) if ticks else (packet.pts, 0)
                ticks.append(packet.pts)
    ticks.sort()
    later = None
    if span is not None:
        if not ticks or len(ticks) < count:
            raise ValueError("it does not tell when each of its pictures is shown: no part of it")
        length = (ticks[-1] - ticks[0]) * base
        begin = ticks[0] + span[0] / base
        stop = Fraction(ticks[-1] + 1) if span[1] is None else begin + span[1] / base
        inside = [tick for tick in ticks if begin <= tick < stop]
        after = (tick for tick in ticks if inside and tick > inside[-1])
        later = next((min(tick, math.ceil(stop)) for tick in after), None)
        ticks, count = inside, len(inside)
        if not ticks:
            raise ValueError(
                f"nothing is in that part of it: its last picture is shown at {float(length):g} s"
            )
    cut = span is not None
    start = ticks[0] * base if ticks else Fraction(0)
    known = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    rates = [Fraction(rate) for rate in known if rate]
    if len(set(ticks)) < max(count, 2):  # times that are missing tell nothing
        return Timing(start, 1 / rates[0] if rates else None, count, count, cut)
    for rate in rates:
        if all(abs((t - ticks[0]) * base * rate - i) <= base * rate for i, t in enumerate(ticks)):
            return Timing(start, 1 / rate, count, count, cut)
    end = later or ticks[-1] + (last[1] or ticks[-1] - ticks[-2])
    return Timing(start, base, count, end - ticks[0], cut)


def frame_time(frame: Any) -> Fraction | None:
    """When a frame is shown or heard, on the clock of its file [s]; None if unknown."""
    if frame.pts is None or not frame.time_base:
        return None
    return Fraction(frame.pts * frame.time_base)
