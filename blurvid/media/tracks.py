"""What is in a video besides its pictures (sound, chapters, date, place), and joining all of it."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.stream import Disposition

from blurvid.errors import InputError
from blurvid.media.mp4 import local, writing
from blurvid.media.video import Timing, decoded, frame_time, open_video

_COPIED = frozenset(("aac", "alac", "mp3", "ac3", "eac3", "flac", "opus"))
"""Sound that an MP4 holds as it is, and players know there."""
_AAC = (
    "sample_rates=48000|44100|32000|24000|22050|16000|12000|11025|8000"
    ":channel_layouts=mono|stereo|3.0|4.0|5.0|5.1|7.1"
)
"""Sound that can be encoded; other sound becomes the nearest of these."""
_OPUS = "sample_fmts=flt:sample_rates=48000:channel_layouts=mono|stereo|5.1|7.1"
_BITRATE = 160_000
_ABOUT = {
    **{key: key for key in ("title", "artist", "album", "comment", "copyright", "description")},
    **{key: key for key in ("genre", "date", "creation_time", "location")},
    "com.apple.quicktime.location.iso6709": "location",
    "com.apple.quicktime.creationdate": "date",
}
"""Words about a video by their names in files, and in an MP4."""
_CAMERA = ("make", "model")
"""Words that phones write, and an MP4 has no place for."""
_SLOWEST, _FASTEST = 0.5, 2.0
"""Tempos of one `atempo` of FFmpeg; slower ones are made by several, faster ones lose samples."""
_MILLISECOND = Fraction(1, 1000)
_FINEST = 10**9
"""Most ticks a second of a track; a file has 32 bits for it."""


@dataclass(frozen=True)
class Tracks:
    """What is in a video besides its pictures."""

    sound: Path | None = None
    """A file whose sound is taken as it is."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Date, place and other words."""
    chapters: Sequence[Any] = ()
    """As for `av.container.Container.set_chapters`."""
    audio: str = "none"
    """What became of the sound: one of `config.SOUNDS`, `none` if there was none."""
    offset: Fraction = Fraction(0)
    """Time from the beginning of all to the first picture [s]."""
    warnings: tuple[str, ...] = ()
    """What is left out."""


def write_tracks(
    source: Path, path: Path, timing: Timing, slower: Fraction, audio: str, webm: bool = False
) -> Tracks:
    """Take from a video what goes with its pictures, and write its sound.

    That is the default track, or else the first that can be decoded.

    Args:
        source: the video.
        path: a file for the sound; it is written over.
        timing: of the pictures; where it is that of a part, nothing before and after is taken.
        slower: how many times as long the pictures shall take.
        audio: one of `config.Sound`; what is kept is copied where the container may hold it.
        webm: for WebM, with Opus, instead of MP4, with AAC.

    Raises:
        InputError: not a video.
        OutputError: FFmpeg failed to write; with its words.
    """
    with open_video(source) as (container, video):
        # (A chapter's title is in a data track of an MP4.)
        words = {key.lower(): value for key, value in container.metadata.items()}
        last = {key.rpartition(".")[2] for key in words}
        about = {own: words[key] for key, own in _ABOUT.items() if key in words}
        chapters = container.chapters()
        others = [stream for stream in container.streams if stream.index != video.index]
        names = {s.index: _named(s) for s in others if not (s.type == "data" and chapters)}
        others.sort(key=lambda stream: not stream.disposition & Disposition.default)
        sounds = [stream.index for stream in others if stream.type == "audio"]
    warnings, start, taken, silent = [], timing.start, None, False
    for index in sounds:
        title = names.pop(index) if audio == "drop" or taken is None else ""
        if audio != "drop" and taken is None:
            try:
                begins = _write(source, index, path, timing, slower, audio, webm)
            except InputError:
                warnings.append(f"its {title} cannot be decoded and is left out")
                continue
            silent = begins is None
            if begins is not None:
                start, taken = begins, index
    camera = (f"the {word} of the camera" for word in _CAMERA if word in last)
    if left := [*names.values(), *camera]:
        warnings.append(f"left out: {', '.join(left)}")
    return Tracks(
        sound=None if taken is None else path,
        about=about,
        chapters=[*_moved(chapters, start, timing.stop, slower)],
        audio=audio if taken is not None else "drop" if sounds and not silent else "none",
        offset=timing.start - start,
        warnings=tuple(warnings),
    )


def _named(stream: Any) -> str:
    """A track in words."""
    kind = {"audio": "sound", "video": "picture"}.get(stream.type, stream.type)
    codec = stream.codec_context.name if stream.codec_context else "unknown codec"
    about = ", ".join(word for word in (codec, stream.language) if word)
    return f"{kind} track {stream.index} ({about})"


def _moved(
    chapters: Any, start: Fraction, stop: Fraction | None, slower: Fraction
) -> Iterator[dict[str, Any]]:
    """Chapters by the new clock; those outside of a part are left out."""
    for chapter in chapters:
        times = [chapter[end] * chapter["time_base"] for end in ("start", "end")]
        if stop is not None:
            times = [min(max(time, start), stop) for time in times]
            if times[0] == times[1]:
                continue
        begin, end = (max(0, round((time - start) * slower / _MILLISECOND)) for time in times)
        yield {**chapter, "start": begin, "end": end, "time_base": _MILLISECOND}


def _write(
    source: Path,
    index: int,
    path: Path,
    timing: Timing,
    slower: Fraction,
    audio: str,
    webm: bool,
) -> Fraction | None:
    """Write a track of sound, and return when it or the pictures begin [s]; None if it is silent.

    Raises:
        InputError: it cannot be decoded.
    """
    with open_video(source) as (container, _):
        track: Any = container.streams[index]
        frame = next(decoded(container, track), None) if track.codec_context else None
        if frame is None:
            raise InputError(f"{source}: sound that cannot be decoded")
        begins = frame_time(frame) or Fraction(0)
    first, stop = timing.start, timing.stop
    if timing.cut:
        begins = max(begins, first)
    start = min(first, begins)
    with (
        open_video(source) as (container, _),
        writing(path, path, "webm" if webm else "mp4") as out,
    ):
        track = container.streams[index]
        later = (begins - start) * (slower - 1)  # pictures and sound begin as far apart, stretched
        copied = ("opus",) if webm else _COPIED
        if audio == "keep" and track.codec_context.name in copied and not timing.cut:
            copy = out.add_stream_from_template(track, opaque=True)
            copy.metadata["language"] = track.language or "und"
            shift = round((later - start) / track.time_base)
            for packet in moved(container.demux(track), copy):
                packet.pts = packet.dts = (packet.dts or 0) + shift
                out.mux(packet)
            return start
        heard = decoded(container, track)
        if stop is not None:
            heard = takewhile(lambda frame: (frame_time(frame) or start) < stop, heard)
        if audio == "keep":
            frames = _filtered(heard, start - later, 1.0, timing, webm)
        else:
            frames = _filtered(heard, start, float(slower), timing, webm)
        sound: Any = None
        for frame in frames:
            if sound is None:
                rate, layout = frame.sample_rate, frame.layout
                codec = "libopus" if webm else "aac"
                sound = out.add_stream(codec, rate, layout=layout, bit_rate=_BITRATE)
                sound.metadata["language"] = track.language or "und"
            out.mux(sound.encode(frame))
        if sound is None:
            return None
        out.mux(sound.encode())
    return start


def _filtered(
    frames: Iterator[AudioFrame], start: Fraction, slower: float, timing: Timing, webm: bool
) -> Iterator[AudioFrame]:
    """Sound from a time on, silent where there is none, with another tempo.

    Of a part of a video, what is in it.
    """
    ends = [] if timing.stop is None else [timing.start - start, timing.stop - start]
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
                *(graph.add("atrim", f"{float(a):.6f}:{float(b):.6f}") for a, b in pairwise(ends)),
                # Silence where sound begins later than the pictures, or has a gap.
                graph.add("aresample", "async=1:first_pts=0"),
                *(graph.add("atempo", f"{step:.9f}") for step in (*steps, tempo)),
                graph.add("aformat", _OPUS if webm else _AAC),
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


def join(
    pieces: Iterable[Path],
    path: Path,
    name: Path,
    shown: Sequence[int],
    tick: Fraction,
    besides: Tracks = Tracks(),
) -> None:
    """Put pieces of video behind one another, bit by bit, with what goes with them.

    Args:
        pieces: made by `mp4.encode` with `joinable`, alike.
        path: a file; it is written over.
        name: the file to name in messages; its suffix names the container.
        shown: when each frame is shown [ticks], and when the last one ends.
        tick: [s].
        besides: sound and words.

    Raises:
        OutputError: FFmpeg failed; with its words.
    """
    tick = tick.limit_denominator(_FINEST)
    with contextlib.ExitStack() as stack:
        container = "webm" if name.suffix.lower() == ".webm" else "mp4"
        out = stack.enter_context(writing(path, name, container))
        out.metadata.update(besides.about)
        pieces = iter(pieces)
        first = stack.enter_context(av.open(local(next(pieces))))
        video = out.add_stream_from_template(first.streams.video[0], opaque=True, time_base=tick)
        sources = [_timed(_pictures(first, pieces), shown, tick, video)]
        if besides.sound is not None:
            file = stack.enter_context(av.open(local(besides.sound)))
            track = file.streams.audio[0]
            copy = out.add_stream_from_template(track, opaque=True)
            copy.metadata.update(track.metadata)
            sources.append(moved(file.demux(track), copy))
        out.set_chapters(list(besides.chapters))
        for packet in heapq.merge(
            *sources, key=lambda packet: (packet.dts or 0) * packet.time_base
        ):
            out.mux(packet)


def moved(packets: Iterable[Any], stream: Any) -> Iterator[Any]:
    """Packets of a track for another file's."""
    for packet in packets:
        if packet.size and packet.dts is not None:  # the last one is empty
            packet.stream = stream
            yield packet


def _pictures(first: Any, others: Iterator[Path]) -> Iterator[Any]:
    yield from first.demux(first.streams.video[0])
    for piece in others:
        with av.open(local(piece)) as file:
            yield from file.demux(file.streams.video[0])


def _timed(
    packets: Iterable[Any], shown: Sequence[int], tick: Fraction, stream: Any
) -> Iterator[Any]:
    """Packets in order, shown when they are to be."""
    for packet, (time, end) in zip(moved(packets, stream), pairwise(shown), strict=True):
        packet.time_base = tick
        packet.pts = packet.dts = time
        packet.duration = end - time
        yield packet
