"""How fast windows are made of a clip, beside what FFmpeg alone needs to decode and scale it."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blurvid import media
from blurvid.errors import OptionError
from blurvid.lab.data import windows
from blurvid.lab.options import SynthOptions


@dataclass(frozen=True)
class SynthRate:
    """Windows written and the clip merely decoded and scaled, in turns; medians of the runs."""

    frames: int
    """Frames of the clip."""
    windows: int
    """Windows written in each run."""
    jobs: int | None
    """Threads that made them; None is the default."""
    repeats: int
    seconds: float
    """Time of a run of `write_windows` [s]: decoding, blurring, measuring motion, PNG files."""
    ffmpeg_seconds: float
    """Time that FFmpeg took for the clip alone, every frame scaled, made RGB and dropped [s]."""
    ratio: float
    """Speed as a share of ffmpeg's: median of the ratios of runs next to each other."""
    least_ratio: float
    most_ratio: float

    @property
    def frames_per_second(self) -> float:
        """Frames of the clip that went into windows per second."""
        return self.frames / self.seconds

    @property
    def ffmpeg_frames_per_second(self) -> float:
        """Frames that ffmpeg decoded and scaled per second."""
        return self.frames / self.ffmpeg_seconds

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; times in seconds."""
        return {
            **asdict(self),
            "frames_per_second": self.frames_per_second,
            "ffmpeg_frames_per_second": self.ffmpeg_frames_per_second,
        }


def bench_synth(
    video: Path, options: SynthOptions, *, jobs: int | None = None, repeats: int, warmup: int
) -> SynthRate:
    """Time the making of windows of a video.

    Args:
        video: the clip.
        options: of the windows, which are written to a temporary folder.
        jobs: threads that make windows, as for `windows.write_windows`.
        repeats: timed runs.
        warmup: runs before those.

    Returns:
        Both speeds and their ratio.

    Raises:
        OptionError: no runs, or options out of range.
        InputError: not a video that can be read, or too short.
    """
    if repeats < 1 or warmup < 0:
        raise OptionError(f"{repeats} runs after {warmup}; at least 1 after 0 are possible")
    ours, plain, ratios = [], [], []
    frames = written = 0
    for run in range(-warmup, repeats):
        start = time.perf_counter()
        frames = sum(1 for _ in media.read_video(video, options.scale))
        between = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            written = windows.write_windows([video], Path(folder), options, jobs=jobs).written
            took = time.perf_counter() - before
        if run >= 0:
            ours.append(took)
            plain.append(between - start)
            ratios.append(plain[-1] / took)
    return SynthRate(
        frames=frames,
        windows=written,
        jobs=jobs,
        repeats=repeats,
        seconds=statistics.median(ours),
        ffmpeg_seconds=statistics.median(plain),
        ratio=statistics.median(ratios),
        least_ratio=min(ratios),
        most_ratio=max(ratios),
    )
