"""Frames to an MP4 or WebM file, at once or as pieces that `tracks.join` joins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blurvid.errors import OutputError
from blurvid.media.profile import Pixels

EXACT = "bicubic+accurate_rnd+full_chroma_int"
"""Flags of ffmpeg's scaler; its quick conversion makes every frame a level darker (measured)."""
# A real conversion to BT.709 with full chroma precision, and the tags that say so.
# Without it FFmpeg converts with BT.601 and players that assume BT.709 show other colours.
_TO_BT709 = f"in_range=pc:out_range=tv:out_color_matrix=bt709:flags={EXACT}"
_BT709 = 1
_LIMITED = 1
_LARGE = 4_000_000
"""Pixels of a frame above which x264 looks less far ahead."""
_REPEATABLE = "mbtree=0"
"""x264's macroblock tree reads memory that nothing has written, so that bytes change by chance."""
_FRUGAL = {"preset": "veryfast", "x264-params": f"{_REPEATABLE}:rc-lookahead=8"}
"""At 12 megapixels three quarters of the memory and half of the time, for files of one size."""
_CLOCK = 90_000
"""Ticks a second in which a file tells when a track begins."""
_WORST_H264, _WORST_VP9 = 51, 63
"""Largest crf of each encoder."""
_VP9 = {"row-mt": "1", "cpu-used": "4", "deadline": "good", "b": "0"}
"""A third of the time of libvpx's own speed, for files a few percent larger."""


def encode(
    frames: Iterable[Pixels],
    size: tuple[int, int],
    path: Path,
    fps: float | Fraction,
    crf: int,
    name: Path,
    *,
    aspect: tuple[int, int] = (1, 1),
    joinable: bool = False,
    webm: bool = False,
    loops: int = 1,
) -> None:
    """Encode frames as they come, at constant memory.

    Args:
        frames: (H, W, 3) uint8 RGB (sRGB) each; an odd side gets its last row or column twice.
        size: H and W.
        path: a file; it is written over.
        fps: frames shown per second.
        crf: quality of x264, 0 to 51, smaller is better.
        name: the file to name in messages.
        aspect: width to height of a pixel when shown.
        joinable: for `tracks.join`: no frame is stored out of its order.
        webm: write WebM (VP9) instead of MP4 (H.264).
        loops: how often all of it is shown; it is encoded once.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    height, width = (side + side % 2 for side in size)
    rate = Fraction(fps).limit_denominator(1_000_000)
    if webm:
        options = {"crf": str(round(crf * _WORST_VP9 / _WORST_H264)), **_VP9}
    else:
        options = {"crf": str(crf), "x264-params": _REPEATABLE}
        if joinable:
            options["bf"] = "0"
        if height * width > _LARGE:
            options |= _FRUGAL
    with writing(path, name, "webm" if webm else "mp4") as out:
        encoder = "libvpx-vp9" if webm else "libx264"
        stream = out.add_stream(encoder, rate, options, width=width, height=height)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.color_range, context.colorspace = _LIMITED, _BT709
        context.color_primaries = context.color_trc = _BT709
        context.sample_aspect_ratio = Fraction(*aspect)
        graph = av.filter.Graph()
        rgb = f"video_size={width}x{height}:pix_fmt=rgb24:time_base={1 / rate}:range=pc"
        nodes = ("buffer", rgb), ("scale", _TO_BT709), ("format", "yuv420p"), ("buffersink", None)
        graph.link_nodes(*(graph.add(*node) for node in nodes)).configure()
        packets: list[tuple[bytes, int, int, bool]] = []

        def mux(encoded: Sequence[Packet[VideoStream]]) -> None:
            if loops > 1:
                packets.extend((bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe) for p in encoded)
            out.mux(encoded)

        count = 0
        for pixels in frames:
            graph.vpush(VideoFrame.from_ndarray(_even(pixels)))
            frame = graph.vpull()
            frame.pts, frame.time_base = count, 1 / rate
            mux(stream.encode(frame))
            count += 1
        mux(stream.encode())
        for turn in range(1, loops):
            for data, shown, stored, key in packets:
                packet: Packet[Any] = Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, 1 / rate, key
                packet.pts, packet.dts = shown + turn * count, stored + turn * count
                packet.duration = 1
                out.mux(packet)


@contextlib.contextmanager
def writing(
    path: Path, name: Path, container: str = "mp4", besides: Mapping[str, str] | None = None
) -> Iterator[OutputContainer]:
    """Open a video or animation to be written; what fails names another file.

    Args:
        path: a file; it is written over.
        name: the file to name in messages.
        container: FFmpeg's name of the format.
        besides: further options of the format.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    try:
        options = {"movflags": "+faststart", "movie_timescale": str(_CLOCK)}
        if container != "mp4":
            options = {"fflags": "+bitexact"}  # or each file would get a number of its own
        options |= besides or {}
        with av.open(local(path), "w", format=container, container_options=options) as out:
            yield out
    except av.FFmpegError as error:
        raise OutputError(f"{name}: not written: {error.strerror}") from error


def local(path: Path) -> str:
    """Name a file so that no character of it (`-`, `:`, `%`) means anything to FFmpeg."""
    return f"file:{path.absolute()}"


def _even(frame: Pixels) -> Pixels:
    """A frame with even sides, contiguous; itself where it is that already."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
