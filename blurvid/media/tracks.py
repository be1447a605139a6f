"""What is in a video besides its pictures: sound, chapters, date and place."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.stream import Disposition

from blurvid.errors import InputError
from blurvid.media.mp4 import Tracks, moved, writing
from blurvid.media.timing import frame_time
from blurvid.media.video import decoded, open_video

_COPIED = frozenset(("aac", "alac", "mp3", "ac3", "eac3", "flac", "opus"))
"""Sound that an MP4 holds as it is, and players know there."""
_AAC = (
    "sample_rates=48000|44100|32000|24000|22050|16000|12000|11025|8000"
    ":channel_layouts=mono|stereo|3.0|4.0|5.0|5.1|7.1"
)
"""Sound that can be encoded; other sound becomes the nearest of these."""
_BITRATE = 160_000
_ABOUT = {
    **{key: key for key in ("title", "artist", "album", "comment", "copyright", "description")},
    **{key: key for key in ("genre", "date", "creation_time", "location")},
    "com.apple.quicktime.location.iso6709": "location",
    "com.apple.quicktime.creationdate": "date",
}
"""Words about a video by their names in files, and in an MP4."""
_SLOWEST, _FASTEST = 0.5, 2.0
"""Tempos of one `atempo` of FFmpeg; slower ones are made by several, faster ones lose samples."""
_MILLISECOND = Fraction(1, 1000)


def write_tracks(source: Path, path: Path, first: Fraction, slower: Fraction, audio: str) -> Tracks:
    """Take from a video what goes with its pictures, and write its sound.

    That is the default track, or else the first that can be decoded.

    Args:
        source: the video.
        path: a file for the sound; it is written over.
        first: time of the first picture on the clock of the source [s].
        slower: how many times as long the pictures shall take.
        audio: one of `config.SOUNDS`; what is kept is copied where an MP4 may hold it.

    Raises:
        InputError: not a video.
        OutputError: FFmpeg failed to write; with its words.
    """
    with open_video(source) as (container, video):
        # (A chapter's title is in a data track of an MP4.)
        words = {key.lower(): value for key, value in container.metadata.items()}
        about = {own: words[key] for key, own in _ABOUT.items() if key in words}
        chapters = container.chapters()
        others = [stream for stream in container.streams if stream.index != video.index]
        names = {s.index: _named(s) for s in others if not (s.type == "data" and chapters)}
        others.sort(key=lambda stream: not stream.disposition & Disposition.default)
        sounds = [stream.index for stream in others if stream.type == "audio"]
    warnings, start, taken = [], first, None
    for index in sounds:
        title = names.pop(index) if audio == "drop" or taken is None else ""
        if audio != "drop" and taken is None:
            try:
                start, taken = _write(source, index, path, first, slower, audio), index
            except InputError:
                warnings.append(f"its {title} cannot be decoded and is left out")
    if names:
        warnings.append(f"left out: {', '.join(names.values())}")
    return Tracks(
        sound=None if taken is None else path,
        about=about,
        chapters=[_moved_chapter(chapter, start, slower) for chapter in chapters],
        audio=audio if taken is not None else "drop" if sounds else "none",
        offset=first - start,
        warnings=tuple(warnings),
    )


def _named(stream: Any) -> str:
    """A track in words."""
    kind = {"audio": "sound", "video": "picture"}.get(stream.type, stream.type)
    codec = stream.codec_context.name if stream.codec_context else "unknown codec"
    about = ", ".join(word for word in (codec, stream.language) if word)
    return f"{kind} track {stream.index} ({about})"


def _moved_chapter(chapter: Any, start: Fraction, slower: Fraction) -> dict[str, Any]:
    times = [(chapter[end] * chapter["time_base"] - start) * slower for end in ("start", "end")]
    begin, end = (max(0, round(time / _MILLISECOND)) for time in times)
    return {**chapter, "start": begin, "end": end, "time_base": _MILLISECOND}


def _write(
    source: Path, index: int, path: Path, first: Fraction, slower: Fraction, audio: str
) -> Fraction:
    """Write a track of sound, and return when it or the pictures begin [s].

    Raises:
        InputError: it cannot be decoded.
    """
    with open_video(source) as (container, _):
        track: Any = container.streams[index]
        frame = next(decoded(container, track), None) if track.codec_context else None
        if frame is None:
            raise InputError(f"{source}: sound that cannot be decoded")
        begins = frame_time(frame) or Fraction(0)
    start = min(first, begins)
    with open_video(source) as (container, _), writing(path, path) as out:
        track = container.streams[index]
        later = (begins - start) * (slower - 1)  # pictures and sound begin as far apart, stretched
        if audio == "keep" and track.codec_context.name in _COPIED:
            copy = out.add_stream_from_template(track, opaque=True)
            copy.metadata["language"] = track.language or "und"
            shift = round((later - start) / track.time_base)
            for packet in moved(container.demux(track), copy):
                packet.pts = packet.dts = (packet.dts or 0) + shift
                out.mux(packet)
            return start
        if audio == "keep":
            frames = _filtered(decoded(container, track), start - later, 1.0)
        else:
            frames = _filtered(decoded(container, track), start, float(slower))
        sound = None
        for frame in frames:
            if sound is None:
                rate, layout = frame.sample_rate, frame.layout
                sound = out.add_stream("aac", rate, layout=layout, bit_rate=_BITRATE)
                sound.metadata["language"] = track.language or "und"
            out.mux(sound.encode(frame))
        if sound is not None:
            out.mux(sound.encode())
    return start


def _filtered(frames: Iterator[AudioFrame], start: Fraction, slower: float) -> Iterator[AudioFrame]:
    """Sound from a time on, silent where there is none, with another tempo."""
    steps, tempo = [], 1 / slower
    while not _SLOWEST <= tempo <= _FASTEST:
        steps.append(_SLOWEST if tempo < 1 else _FASTEST)
        tempo /= steps[-1]
    graph = None
    for frame in frames:
        base = Fraction(1, frame.sample_rate)
        if graph is None:
            graph = av.filter.Graph()
            kind = f"sample_rate={frame.sample_rate}:sample_fmt={frame.format.name}"
            kind += f":channel_layout={frame.layout.name}:time_base={base}"
            nodes = [
                graph.add("abuffer", kind),
                # Silence where sound begins later than the pictures, or has a gap.
                graph.add("aresample", "async=1:first_pts=0"),
                *(graph.add("atempo", f"{step:.9f}") for step in (*steps, tempo)),
                graph.add("aformat", _AAC),
                graph.add("abuffersink"),
            ]
            graph.link_nodes(*nodes).configure()
        time = frame_time(frame)
        if time is not None:
            frame.pts, frame.time_base = round((time - start) / base), base
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _ready(graph: av.filter.Graph) -> Iterator[AudioFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(frame, AudioFrame)
        yield frame
