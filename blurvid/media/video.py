"""Frames of a video, one at a time."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from blurvid.errors import InputError
from blurvid.media import ffmpeg
from blurvid.media.files import is_special
from blurvid.media.scaling import size_filter, video_filter
from blurvid.media.text import reason

MAX_PIXELS = 400_000_000
"""Larger frames are refused before they are decoded, as photos are."""
MAX_FRAMES = 1_000_000
"""Longer videos are refused there: four hours at 60 frames per second."""
_PATIENCE = 60.0
"""Longest time [s] that reading a header may take."""
# A playlist that poses as a video must not make ffmpeg open other files, or addresses on the
# network. So only what holds a video itself is opened, and nothing but this file.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vc1,dv,asf,flv,"
    "ogg,mxf,gif,yuv4mpegpipe,ivf,obu,nut"
)
ONLY_THIS_FILE = (
    *("-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS),
    *("-max_pixels", str(MAX_PIXELS)),
)


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself."""

    size: tuple[int, int]
    """Height and width as displayed, rotation applied [px]."""
    fps: float | None
    """Frames per second; None if it does not say. High-speed clips often lie here."""
    frames: int | None
    """Number of frames, from duration and fps, so that it may be off by a few; None if
    unknown."""
    aspect: tuple[int, int] = (1, 1)
    """Width to height of a pixel as displayed, rotation applied."""
    hdr: bool = False
    """Whether brightness is stored as PQ or HLG, which `read_video` does not convert."""
    interlaced: bool = False


def video_info(path: Path) -> VideoInfo:
    """Read the size, speed and length of a video from its header.

    Args:
        path: the file.

    Returns:
        What the header says.

    Raises:
        InputError: missing, or not a video.
    """
    text = video_header(path)
    stream = re.search(r"^ +Stream #.*: Video: (?!.*\(attached pic\)).*$", text, re.MULTILINE)
    sides = stream and re.search(r", (\d+)x(\d+)\b", stream[0])
    if stream is None or sides is None:
        raise InputError(f"{path}: not a video that ffmpeg can read")
    size = (int(sides[2]), int(sides[1]))
    # Of what follows the stream's line, only this stream's own notes tell its rotation.
    notes = re.split(r"^ +Stream #", text[stream.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    turn = re.search(r"rotation of (-?[\d.]+) degrees", notes)
    # The container's own aspect follows the codec's, and counts.
    pixel = re.findall(r"\bSAR (\d+):(\d+)\b", stream[0])
    aspect = (int(pixel[-1][0]), int(pixel[-1][1])) if pixel else (1, 1)
    if 0 in aspect:
        aspect = (1, 1)
    if turn is not None and round(float(turn[1]) / 90) % 2:
        size, aspect = size[::-1], aspect[::-1]
    speed = re.search(r"([\d.]+)(k?) (?:fps|tbr)\b", stream[0])
    fps = float(speed[1]) * (1000 if speed[2] else 1) if speed else None
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
    frames = None
    if length is not None and fps:
        seconds = int(length[1]) * 3600 + int(length[2]) * 60 + float(length[3])
        frames = round(seconds * fps) or None
    hdr = re.search(r"\b(smpte2084|arib-std-b67)\b", stream[0]) is not None
    fields = re.search(r"[(, ](top|bottom) (first|coded first)", stream[0]) is not None
    return VideoInfo(size, fps or None, frames, aspect, hdr, fields)


def video_header(path: Path) -> str:
    """What ffmpeg says about a video, as text for people.

    Args:
        path: the file.

    Raises:
        InputError: missing, or no header found in time.
    """
    path = Path(path)
    command = [_program(path), "-hide_banner", "-nostdin", *ONLY_THIS_FILE]
    command += ["-i", ffmpeg.as_url(path)]
    try:
        # Without an output ffmpeg shows the header and then always fails.
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=ffmpeg.environment(),
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: no header found within {_PATIENCE:.0f} seconds") from error
    return run.stderr.decode(errors="replace")


def read_video(path: Path, scale: float = 1.0) -> Iterator[NDArray[np.uint8]]:
    """Decode a video, every stored frame once, rotation applied, at constant memory.

    Args:
        path: the file.
        scale: size of the frames as a share of the video's, see `scaling.scaled_side`; ffmpeg
            makes them smaller.

    Returns:
        An iterator over frames, (H, W, 3) uint8 RGB, each an array of its own. Dropping or
        closing it ends the decoder.

    Raises:
        InputError: missing (at once); or, while iterating, not a video or damaged.
    """
    path = Path(path)
    command = [_program(path), *ffmpeg.QUIET, *ONLY_THIS_FILE, "-i", ffmpeg.as_url(path)]
    # PPM pictures bring their size along, so that rotation needs no parsing of headers.
    command += ["-map", "0:V:0", "-fps_mode", "passthrough", "-vf", video_filter(scale)]
    command += ["-c:v", "ppm", "-f", "image2pipe", "pipe:1"]
    return _frames(path, command)


def decode_video(path: Path, scale: float = 1.0) -> int:
    """Let ffmpeg decode and scale a video, and drop the frames: the least that reading takes.

    Args:
        path: the file.
        scale: as for `read_video`.

    Returns:
        The number of frames.

    Raises:
        InputError: missing, not a video or damaged.
    """
    path = Path(path)
    command = [_program(path), *ffmpeg.QUIET, *ONLY_THIS_FILE, "-i", ffmpeg.as_url(path)]
    command += ["-map", "0:V:0", "-fps_mode", "passthrough"]
    command += ["-vf", f"{size_filter(scale)}:flags=bicubic"] if scale != 1 else []
    command += ["-progress", "pipe:1", "-f", "null", "-"]
    with tempfile.TemporaryFile() as log:
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=ffmpeg.environment(),
            check=False,
        )
        counts = re.findall(rb"^frame=\s*(\d+)", run.stdout, re.MULTILINE)
        if run.returncode != 0 or not counts or not int(counts[-1]):
            raise InputError(f"{path}: not decoded: {ffmpeg.last_line(log)}")
    return int(counts[-1])


def _program(path: Path) -> str:
    """Path of ffmpeg, after a look whether there is a file to run it on."""
    try:
        if is_special(path) and not path.is_dir():
            raise InputError(f"{path}: not a file; a video has to be one")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {reason(error)}") from error
    try:
        return ffmpeg.program()
    except RuntimeError as error:
        raise InputError(f"{path}: no ffmpeg on this platform to read it") from error


def _frames(path: Path, command: list[str]) -> Iterator[NDArray[np.uint8]]:
    """Run ffmpeg and take its pictures apart."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        process = stack.enter_context(
            ffmpeg.Program(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        ).begin()
        stream = process.stdout
        count = 0
        frame = _next_picture(stream) if stream is not None else None
        while stream is not None and frame is not None:
            yield frame
            count += 1
            if count >= MAX_FRAMES:
                raise InputError(f"{path}: more than {MAX_FRAMES} frames; cut it into pieces")
            frame = _next_picture(stream)
        if process.wait() != 0 or count == 0:
            raise InputError(f"{path}: frame {count + 1} not read: {ffmpeg.last_line(log)}")


def _next_picture(stream: IO[bytes]) -> NDArray[np.uint8] | None:
    """Read one binary PPM; None at the end of the stream or of a picture cut short."""
    lines = [stream.readline() for _ in range(3)]  # P6, width and height, 255
    if not lines[2]:
        return None
    width, height = (int(side) for side in lines[1].split())
    frame = np.empty((height, width, 3), np.uint8)
    return frame if _fill(stream, frame.data.cast("B")) else None


def _fill(stream: IO[bytes], room: memoryview) -> bool:
    """Read straight into memory; whether there was enough."""
    while room:
        count = stream.readinto(room)  # type: ignore[attr-defined]
        if not count:
            return False
        room = room[count:]
    return True
