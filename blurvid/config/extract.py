"""Extraction: how a network runs, what is done with a photo, how clips are shown, batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from blurvid.config.basics import Gamma


@dataclass(frozen=True)
class RunOptions:
    """Where and how a network runs."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    precision: str = "auto"
    """`auto`, `fp32`, `bf16` or `fp16`."""
    threads: int | None = None
    """CPU threads; None leaves torch's own choice."""
    max_memory: int | None = None
    """Most memory to take [bytes], of the GPU or, on a CPU, of the whole process; None takes
    `FREE_SHARE` of what is free."""
    compile: bool = False
    """Compile and record the network on CUDA devices, for photos of which many have the same size.
    The compiler takes seconds to start, and each size is recorded anew; a single photo is done
    before that, and reading and writing photos takes longer than what is saved on a few."""


FREE_SHARE = 0.7
"""Share of the free memory that a photo may take unless told otherwise."""
ROOMY = 1 << 30
"""Memory [bytes] up to which a network on a CPU sees a photo in one go. Beyond, it saves memory
where that changes nothing: it takes hardly longer."""

QUALITIES = {"fast": 1, "good": 2, "best": 4}
"""Names for numbers of passes."""
SMALLEST_SCALE = 0.05
"""Smallest scale at which a photo may be seen."""


@dataclass(frozen=True)
class QualityOptions:
    """What is done with a photo besides one plain pass of the network."""

    passes: int = 1
    """Answers averaged: 1, 2 (the photo mirrored left to right too) or 4 (top to bottom too)."""
    constraint: Gamma | None = None
    """Camera response in which the frames are made to average to the photo; None leaves them."""
    scale: float | Literal["auto"] = "auto"
    """Size at which the network sees the photo, as a share of its own; smaller for longer blur.
    `auto` measures the blur."""


DIRECTIONS = ("auto", "right", "left", "up", "down")
"""Where the dominant motion of the frames can be made to point; `auto` leaves their order."""


@dataclass(frozen=True)
class OrderOptions:
    """Which way time runs; a single photo cannot tell which one is right."""

    direction: str = "auto"
    """One of `DIRECTIONS`, for all of the photo."""
    flips: tuple[Any, ...] = ()
    """Regions in which time is turned around after that, each as `media.region` takes it."""


@dataclass(frozen=True)
class MotionHints:
    """What the user knows of the motion in a photo; for the motion model."""

    motion: tuple[float, float] | None = None
    """How far the picture as a whole moves from the first frame to the last [px of the photo], x
    to the right, y downwards; where the search for it begins."""
    still: tuple[Any, ...] = ()
    """Regions that stay at rest, each as `media.region` takes it, but for points."""


@dataclass(frozen=True)
class ClipOptions:
    """How seven frames become a clip that one can watch."""

    fps: float = 10.0
    """Frames shown per second."""
    bounce: bool = True
    """Play forth and back, so that the loop has no jump."""
    reverse: bool = False
    """Turn the order of time around; a single photo cannot tell which one is right."""
    seconds: float = 4.0
    """A video is looped until it lasts at least this long."""
    crf: int = 15
    """x264 quality, smaller is better."""
    compare: str | None = None
    """One of `COMPARISONS`: a clip of the blurred photo against the frames, to be posted."""
    square: bool = False
    """Whether a comparison is a square, of where most moves."""
    caption: bool = True
    """Whether a comparison says which is which."""


COMPARISONS = ("wipe", "side", "flicker")
"""An edge that goes to and fro, one beside the other, or one after the other."""
SOUNDS = ("stretch", "keep", "drop")
"""What becomes of the sound of a video: as long as the pictures, at its own speed, or nothing."""


@dataclass(frozen=True)
class VideoOptions:
    """How the frames of a video, each become seven, are a video again."""

    fps: float | Literal["slow", "keep"] = "slow"
    """Frames shown per second; `slow` takes the video's own rate, so that it takes seven times as
    long, `keep` seven times that rate, so that it takes as long as before."""
    audio: Literal["stretch", "keep", "drop"] = "stretch"
    """One of `SOUNDS`."""
    crf: int = ClipOptions.crf
    """x264 quality, smaller is better."""


UNKNOWN_FPS = 30.0
"""Of a video that does not tell its rate."""


MOST_THREADS = 1024
"""Most threads or processes of one kind that may be asked for; a larger number is a mistake."""
BATCH_PIXELS = 8_000_000
"""Of all photos that a batch has in work at a time, so that their frames take about a gigabyte;
a larger photo is in work alone."""
MOST_WRITERS = 8
"""Most threads that write the results of a batch unless told otherwise."""
ENGINES = ("local", "ray")
"""Who does a batch: this process, or the workers of a Ray cluster."""
RAY_TRIES = 3
"""Workers that may die of a photo or clip before it is given up."""
RAY_THREADS = 4
"""Most CPU threads of a worker unless told otherwise; more help one photo less than another worker
helps a batch."""
RAY_WRITERS = 1
"""Threads in which a worker writes while another photo is in the network."""
RAY_BLOCK = 8
"""Most photos that a worker is given at a time."""
RAY_STORE = 100 << 20
"""Shared memory [bytes] of a cluster started for one run; only names and figures go through it."""


@dataclass(frozen=True)
class RayOptions:
    """Which Ray cluster, and how much of it."""

    address: str | None = None
    """`auto` or `HOST:PORT` of a running cluster; None is `RAY_ADDRESS`, or else one on this
    machine for the time of the run."""
    workers: int | None = None
    """Processes that hold the model; None takes one a GPU, or as many as there are CPUs for."""
