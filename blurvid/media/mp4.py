"""Frames to an MP4 file that plays everywhere."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurvid.errors import OutputError
from blurvid.media import ffmpeg

Pixels = NDArray[np.uint8]

# A real conversion to BT.709 with full chroma precision, and then the tags that say so.
# Without it ffmpeg converts with BT.601 and players that assume BT.709 show other colours.
_FILTER = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709"
    ":flags=bicubic+accurate_rnd+full_chroma_int,"
    "format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
_TIMESCALE = 90_000
"""Ticks a second, the same for all pieces of a video."""
_LARGE = 4_000_000
"""Pixels of a frame above which x264 looks less far ahead."""
_FRUGAL = ("-preset", "veryfast", "-x264-params", "rc-lookahead=8")
"""At 12 megapixels three quarters of the memory and half of the time, for files of one size."""


def save_mp4(
    frames: Sequence[Pixels], order: Iterable[int], path: Path, fps: float, crf: int, name: Path
) -> None:
    """Encode with x264 as yuv420p; an odd side gets its last row or column twice.

    Args:
        frames: (H, W, 3) uint8 RGB (sRGB) each, all of one size.
        order: indices of the frames in the order in which they are shown.
        path: a file; it is written over.
        fps: frames shown per second.
        crf: quality of x264, 0 to 51, smaller is better.
        name: the file to name in messages.

    Raises:
        OutputError: ffmpeg is missing or failed; with the last line that it wrote.
    """
    height, width = frames[0].shape[:2]
    odd = height % 2 or width % 2  # otherwise a copy of each would be memory for nothing
    padded = [_even(frame) if odd else np.ascontiguousarray(frame) for frame in frames]
    shown = (padded[index] for index in order)
    encode(shown, (height, width), path, fps, crf, name)


def encode(
    frames: Iterable[Pixels],
    size: tuple[int, int],
    path: Path,
    fps: float,
    crf: int,
    name: Path,
    *,
    aspect: tuple[int, int] = (1, 1),
    joinable: bool = False,
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
        joinable: for `sound.join`: no frame is stored out of its order.

    Raises:
        OutputError: ffmpeg is missing or failed; with the last line that it wrote.
    """
    height, width = size
    command = [*start(name), "-f", "rawvideo", "-pixel_format", "rgb24"]
    command += ["-video_size", f"{width + width % 2}x{height + height % 2}"]
    command += ["-framerate", f"{fps:.6f}", "-i", "pipe:0"]
    command += ["-vf", f"{_FILTER},setsar={aspect[0]}/{aspect[1]}"]
    command += ["-c:v", "libx264", "-crf", str(crf), "-movflags", "+faststart"]
    if joinable:
        command += ["-bf", "0", "-video_track_timescale", str(_TIMESCALE)]
    if height * width > _LARGE:
        command += _FRUGAL
    command += ["-color_range", "tv", "-colorspace", "bt709"]
    command += ["-color_primaries", "bt709", "-color_trc", "bt709"]
    command += ["-f", "mp4", ffmpeg.as_url(path)]
    run(command, (_even(frame).data for frame in frames), name)


def start(name: Path) -> list[str]:
    """The beginning of a command line of ffmpeg that writes over its output.

    Args:
        name: the file to name in messages.

    Raises:
        OutputError: there is no ffmpeg.
    """
    try:
        return [ffmpeg.program(), *ffmpeg.QUIET, "-y"]
    except RuntimeError as error:
        raise OutputError(f"{name}: not written: no ffmpeg on this platform") from error


def run(command: list[str], chunks: Iterable[memoryview], name: Path) -> None:
    """Run ffmpeg on chunks of input, and leave none behind.

    Raises:
        OutputError: it failed; with the last line that it wrote.
    """
    with tempfile.TemporaryFile() as log:
        code = _feed(command, chunks, log.fileno())
        if code != 0:
            raise OutputError(f"{name}: not written: ffmpeg: {ffmpeg.cause(code, log)}")


def _even(frame: Pixels) -> Pixels:
    """A frame with even sides, contiguous; itself where it is that already."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)


def _feed(command: list[str], chunks: Iterable[memoryview], log: int) -> int:
    """Run a program on chunks of input; return its exit status, and leave none behind."""
    program = ffmpeg.Program(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
    with program:
        process = program.begin()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it gave up; its log says why
                for chunk in chunks:
                    process.stdin.write(chunk)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        return process.wait()
