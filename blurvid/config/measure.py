"""Timing and scores."""

from __future__ import annotations

from dataclasses import dataclass

from blurvid.config.basics import FRAMES, MODELS
from blurvid.config.data import SynthOptions


@dataclass(frozen=True)
class BenchOptions:
    """Timing."""

    repeats: int = 5
    warmup: int = 1
    baseline: bool = False
    """Also run the same weights in the plain way, as published, and tell the ratio."""
    batches: tuple[int, ...] = (1,)
    """Photos of one size in a call, one row for each number."""


RESOLUTIONS = {
    "320": (320, 568),
    "480": (480, 854),
    "720": (720, 1280),
    "1080": (1080, 1920),
    "12mp": (3000, 4000),
}
"""Height and width [px] of photos to time; the first three are those of Table 3 of the paper."""
NETWORKS = ("middle", *reversed(MODELS))
"""What is timed: the cascade's middle network alone, and all seven frames by a model."""
TIMED = (*NETWORKS, "bdirnet")
"""What can be timed."""
SWEEP = ("360x270", "640x480", "1160x870", "2000x1500", "12mp")
"""Photos from 0.1 to 12 megapixels, each about three times as large as the one before."""

PROTOCOLS = ("gopro7", "gopro1111")
"""Evaluations of the paper's Table 2 that can be repeated: its first and its last column."""
GOPRO7 = SynthOptions(frames=FRAMES, stride=FRAMES, scale=0.45, gamma=1.0, noise=0.0)
"""Windows of `gopro7`. Number of frames and scale are the paper's (section 7); it does not tell
the response of the average, nor where the windows lie."""
BLUR_FOLDERS = ("blur", "blur_gamma")
"""Blurry images in GOPRO_Large, averaged as stored and in light (gamma 2.2); `gopro1111` takes
the first unless told otherwise."""

ROBUSTNESS_KINDS = (
    "average",
    "light",
    "long",
    "rotation",
    "kernel",
    "gaussian",
    "noise",
    "sharp",
)
"""Kinds of blur that a deblurrer is tested on: 7 to 13 frames averaged as stored; the same in light
(gamma 2.2); 21 frames; a turning camera; a random walk; out of focus; an average with noise (2 %)
and JPEG (quality 70); no blur."""
IN_DOMAIN: dict[str, tuple[str, ...]] = {
    "average": ("average", "light"),
    "kernel": ("kernel",),
    "rotation": ("rotation",),
    "gaussian": ("gaussian",),
}
"""Which of them are in the domain of what was trained on the kinds of `KindOptions`."""
