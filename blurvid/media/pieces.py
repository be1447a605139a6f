"""Pieces of video behind one another, with sound and words, bit by bit."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from blurvid.media.mp4 import local, writing

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


def moved(packets: Iterable[Packet[Any]], stream: Any) -> Iterator[Packet[Any]]:
    """Packets of a track for another file's."""
    for packet in packets:
        if packet.size and packet.dts is not None:  # the last one is empty
            packet.stream = stream
            yield packet


def _pictures(first: Any, others: Iterator[Path]) -> Iterator[Packet[Any]]:
    yield from first.demux(first.streams.video[0])
    for piece in others:
        with av.open(local(piece)) as file:
            yield from file.demux(file.streams.video[0])


def _timed(
    packets: Iterable[Packet[Any]], shown: Sequence[int], tick: Fraction, stream: Any
) -> Iterator[Packet[Any]]:
    """Packets in order, shown when they are to be."""
    for packet, (time, end) in zip(moved(packets, stream), pairwise(shown), strict=True):
        packet.time_base = tick
        packet.pts = packet.dts = time
        packet.duration = end - time
        yield packet
