"""Pieces of video to one, with the sound of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blurvid.media import ffmpeg, mp4
from blurvid.media.video import ONLY_THIS_FILE, video_header

_SLOWEST = 0.5
"""Slowest tempo of one `atempo` of ffmpeg; slower ones are made by several."""
_FASTEST = 2.0
"""Beyond this tempo it leaves out samples."""
_FROM_THE_START = "aresample=async=1:first_pts=0"
"""Puts silence before sound that begins later than the pictures, which is then stretched, too."""
_BITRATE = "160k"


def has_sound(path: Path) -> bool:
    """Whether a video has a track of sound.

    Raises:
        InputError: missing, or not a video.
    """
    return any("Audio:" in line for line in video_header(path).splitlines() if "Stream #" in line)


def join(
    pieces: Sequence[Path],
    path: Path,
    name: Path,
    *,
    sound: Path | None = None,
    slower: float = 1.0,
) -> None:
    """Put pieces of video behind one another, bit by bit, and a sound beside them.

    Args:
        pieces: made by `mp4.encode` with `joinable`, alike, all in one folder, with plain names.
        path: a file; it is written over.
        name: the file to name in messages.
        sound: a video whose first track of sound is taken, encoded anew (AAC).
        slower: how many times as long it shall take, at its pitch.

    Raises:
        OutputError: ffmpeg is missing or failed; with the last line that it wrote.
    """
    command = mp4.start(name)
    listing = pieces[0].parent / "pieces.txt"
    listing.write_text("".join(f"file '{piece.name}'\n" for piece in pieces), encoding="utf-8")
    command += ["-protocol_whitelist", "file", "-f", "concat", "-i", ffmpeg.as_url(listing)]
    if sound is not None:
        command += [*ONLY_THIS_FILE, "-i", ffmpeg.as_url(sound)]
        command += ["-map", "0:v:0", "-map", "1:a:0?", "-c:a", "aac", "-b:a", _BITRATE]
        if slower != 1:
            command += ["-filter:a", f"{_FROM_THE_START},{tempo(1 / slower)}"]
    command += ["-c:v", "copy", "-movflags", "+faststart", "-map_metadata", "-1"]
    command += ["-f", "mp4", ffmpeg.as_url(path)]
    mp4.run(command, (), name)


def tempo(factor: float) -> str:
    """The filter of ffmpeg that plays sound so many times as fast, at its pitch."""
    steps = []
    while factor < _SLOWEST:
        steps.append(_SLOWEST)
        factor /= _SLOWEST
    while factor > _FASTEST:
        steps.append(_FASTEST)
        factor /= _FASTEST
    return ",".join(f"atempo={step:.9f}" for step in [*steps, factor])
