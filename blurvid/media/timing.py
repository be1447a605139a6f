"""When the frames of a video are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from av.container import InputContainer
from av.video.stream import VideoStream

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


def timing_of(
    container: InputContainer, stream: VideoStream, most: int, span: Span | None = None
) -> Timing:
    """Find out from the packets when frames are shown, and whether that is at a constant rate.

    Args:
        container: a video; it is read to its end, or beyond `most`.
        stream: its pictures.
        most: number of frames at which to stop.
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
            if count > most:
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
