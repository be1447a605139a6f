"""Every default of the core, once. No torch in here, so that help screens stay instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from blurvid.bounds import Bounds

FRAMES = 7
"""Frames extracted from one photo (Jin et al. 2018, section 5)."""
LEAST_FRAMES = 3
"""Fewest frames that are made of these seven..."""
MOST_FRAMES = 49
"""...and most: seven between two of them."""
MOST_BEYOND = 4
"""Most frames before the first of the seven, and after the last."""
MIDDLE = 4
"""Number of the middle frame; frames are counted from 1, arrays from 0."""
MODELS = ("motion", "direct", "cascade")
"""The models that extract a whole sequence, best released weights first."""
FAST = "direct"
"""The model that takes a fraction of the time..."""
FAST_MIDDLE = "maxim"
"""...and what makes a photo sharp as fast."""
FOREIGN_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
"""Files that may hold a deblurrer of another's."""
Gamma = float | Literal["srgb"]
"""Camera response: an exponent (1.0 = averaged as stored) or the sRGB curve."""

FRAME_FORMATS = ("png", "tiff", "jpg", "webp-frames")
"""Files of single frames in a folder; `webp` without more is an animation."""
FORMATS = (*FRAME_FORMATS, "mp4", "webm", "gif", "webp", "html")
"""What frames can be written as: single frames in a folder, videos, an animation, an animation with
all colours, a player for browsers."""
ANIMATIONS = ("gif", "webp")
FASTEST = 50
"""Frames per second that they show at most; browsers slow down what asks for more."""
VIDEO_FORMATS = ("mp4", "webm", *ANIMATIONS)
"""What a video can be written as."""
JPEG_QUALITY = 95
"""Of single frames, 0 to 100."""

DEFAULT_GAMMA = 2.2
"""Camera response assumed where none is known."""


DEVICES = r"(auto)|(cpu|mps|cuda)(?:(?<=cuda):([0-9]{1,3}))?"
"""Names of devices, as a regular expression; whether one is there is for torch to say."""


MOST_THREADS = 1024
"""Most threads or processes of one kind that may be asked for; a larger number is a mistake."""


@dataclass(frozen=True)
class RunOptions:
    """Where and how a network runs."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    precision: str = "auto"
    """`auto`, `fp32`, `bf16` or `fp16`."""
    threads: Annotated[int, Bounds(1, MOST_THREADS)] | None = None
    """CPU threads; None leaves torch's own choice."""
    max_memory: int | None = None
    """Most memory to take [bytes], of the GPU or, on a CPU, of the whole process; None takes
    `FREE_SHARE` of what is free."""


FREE_SHARE = 0.7
"""Share of the free memory that a photo may take unless told otherwise."""

QUALITIES = {"fast": 1, "good": 2, "best": 4}
"""Names for numbers of passes."""
SMALLEST_SCALE = 0.05
"""Smallest scale at which a photo may be seen."""
DIRECTIONS = ("auto", "right", "left", "up", "down")
"""Where the dominant motion of the frames can be made to point; `auto` leaves their order."""

Comparison = Literal["wipe", "side", "flicker"]
"""An edge that goes to and fro, one beside the other, or one after the other."""
Sound = Literal["stretch", "keep", "drop"]
"""What becomes of the sound of a video: as long as the pictures, at its own speed, or nothing."""


@dataclass(frozen=True)
class ClipOptions:
    """How seven frames become a clip that one can watch."""

    fps: Annotated[float, Bounds(0.01, 1000)] = 10.0
    """Frames shown per second."""
    bounce: bool = True
    """Play forth and back, so that the loop has no jump."""
    reverse: bool = False
    """Turn the order of time around; a single photo cannot tell which one is right."""
    seconds: Annotated[float, Bounds(0, 3600)] = 4.0
    """A video is looped until it lasts at least this long."""
    crf: Annotated[int, Bounds(0, 51)] = 15
    """x264 quality, smaller is better."""
    compare: Comparison | None = None
    """One of these: a clip of the blurred photo against the frames, to be posted."""
    square: bool = False
    """Whether a comparison is a square, of where most moves."""
    caption: bool = True
    """Whether a comparison says which is which."""


class ClipChanges(TypedDict, total=False):
    """Single fields of `ClipOptions`, which says what each means."""

    fps: float
    bounce: bool
    reverse: bool
    seconds: float
    crf: int
    compare: Comparison | None
    square: bool
    caption: bool


LONGEST = 1e9
"""Times in a video [s] from here on are mistakes."""


@dataclass(frozen=True)
class VideoOptions:
    """How the frames of a video, each become seven, are a video again."""

    fps: Annotated[float, Bounds(0.01, 1000)] | Literal["slow", "keep"] = "slow"
    """Frames shown per second; `slow` takes the video's own rate, so that it takes seven times as
    long, `keep` seven times that rate, so that it takes as long as before."""
    audio: Sound = "stretch"
    """What becomes of the sound."""
    crf: Annotated[int, Bounds(0, 51)] = ClipOptions.crf
    """x264 quality, smaller is better."""
    start: Annotated[Fraction | float, Bounds(0, LONGEST)] | None = None
    """Of what is shown before, nothing is taken [s after the first picture]..."""
    duration: Annotated[Fraction | float, Bounds(1e-6, LONGEST)] | None = None
    """...and so much from there on [s]; None goes to the end."""


UNKNOWN_FPS = 30.0
"""Of a video that does not tell its rate."""


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
RAY_STORE = 100 << 20
"""Shared memory [bytes] of a cluster started for one run; only names and figures go through it."""


@dataclass(frozen=True)
class Output:
    """What is written of photos, and where to."""

    path: Path | None = None
    """A file whose suffix names its kind, or a folder; None is the current folder."""
    kind: str | None = None
    """One of `FORMATS`; None is what the suffix says, in a folder `png`, or `mp4` where there is no
    path. Of single pictures the photo's own."""
    name: str | None = None
    """Template for names in a folder; by default the photo's."""
    flows: tuple[Path, ...] = ()
    """Where the motion goes besides, `.flo`, `.npy` or `.png`: files, or folders..."""
    trusts: tuple[Path, ...] = ()
    """...and for the maps of trust, `.npy` or `.png`."""
    contact: Path | None = None
    """A page about all photos, `.html`; its pictures lie in a folder beside it."""
    clip: ClipOptions = ClipOptions()
    """How frames are shown."""
    overwrite: bool = False
    """Replace existing files."""
    skip_existing: bool = False
    """Leave out photos whose files are all there, to resume a batch."""


@dataclass(frozen=True)
class BatchOptions:
    """How many photos are gone through."""

    fail_fast: bool = False
    """Stop after the first failure."""
    writers: Annotated[int, Bounds(0, MOST_THREADS)] | None = None
    """Threads that write while the network works; 0 does one thing after the other."""
    measure: bool = True
    """Work out the re-blur PSNR and the trust of clips."""
    allow_truncated: bool = False
    """Read photos whose files end early as far as they go."""


@dataclass(frozen=True)
class RayOptions:
    """Which Ray cluster, and how much of it."""

    address: str | None = None
    """`auto` or `HOST:PORT` of a running cluster; None is `RAY_ADDRESS`, or else one on this
    machine for the time of the run."""
    workers: Annotated[int, Bounds(1, MOST_THREADS)] | None = None
    """Processes that hold the model; None takes one a GPU, or as many as there are CPUs for."""


Factor = Annotated[int, Bounds(1, 16)]
Channels = tuple[Annotated[int, Bounds(1, 2048)], ...]
Blocks = tuple[Annotated[int, Bounds(0, 128)], ...]
"""What shapes are believed to be."""


@dataclass(frozen=True)
class UNetSpec:
    """Shape of a U-Net."""

    factor: Factor = 4
    """Unshuffle factor r."""
    channels: Channels = (64, 128, 192)
    """Channels of each level; every level halves height and width."""
    blocks: Blocks = (2, 3, 5)
    """Residual blocks of each level, in the encoder and again in the decoder."""


@dataclass(frozen=True)
class DirectSpec(UNetSpec):
    """Shape of the direct network."""


@dataclass(frozen=True)
class BDIRSpec(UNetSpec):
    """Shape of BDIRNet."""

    rec_blocks: Annotated[int, Bounds(0, 128)] = 3
    """Residual blocks of RecNet."""
    window: Annotated[int, Bounds(1, 2048)] = 192
    """Side of the square around each pixel whose statistics normalize it [px]; the whole image
    where that is smaller."""


@dataclass(frozen=True)
class MaximSpec:
    """Shape of MAXIM."""

    stages: Annotated[int, Bounds(1, 3)] = 1
    """U-Nets one after the other, 1 to 3; the first alone deblurs as well (see the model card)."""
    features: Annotated[int, Bounds(1, 2048)] = 32
    """Channels of the finest scale; every coarser one has twice as many."""


@dataclass(frozen=True)
class MotionSpec:
    """Shape of the motion network."""

    channels: Channels = (32, 64, 128, 160, 192)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the photo's size."""
    blocks: Blocks = (1, 2, 2, 3)
    """Residual blocks at 1/4 to 1/32, and again on the way back but for the last."""
    reach: Annotated[float, Bounds(0, 64, above=True)] = 15.0
    """Longest half displacement in the cost volume [px of the half-size image]."""


@dataclass(frozen=True)
class RestoreSpec(UNetSpec):
    """Shape of the restoration network."""

    channels: Channels = (96, 128, 192)
    blocks: Blocks = (3, 3, 4)
    carried: Annotated[int, Bounds(1, 2048)] = 48
    """Channels of the features that are carried along the path to each frame."""
    kernel: Annotated[int, Bounds(1, 31, odd=True)] = 5
    """Side of the depthwise convolutions; odd."""


@dataclass(frozen=True)
class MotionModelSpec:
    """Shapes of the motion model's own networks."""

    motion: MotionSpec = field(default_factory=MotionSpec)
    restore: RestoreSpec = field(default_factory=RestoreSpec)


@dataclass(frozen=True)
class CascadeSpec:
    """Shape of the cascade. Everything but the default is for trials."""

    width: Annotated[float, Bounds(0, 4, above=True)] = 1.0
    """Multiplies the channels of all five networks; 1 is the paper's."""


SPECS: dict[str, type] = {
    "motion": MotionModelSpec,
    "direct": DirectSpec,
    "cascade": CascadeSpec,
    "bdirnet": BDIRSpec,
    "maxim": MaximSpec,
}
"""Shapes of all models that have weights, by their names. The first three give whole sequences,
best released weights first, the others the middle frame."""
PARTS = {"motion": ("motion", "restore"), "cascade": ("middle", "35", "26", "17")}
"""Parts of the models that are stored in several files; of the cascade its stages, in the order
in which they run."""
STAGES = PARTS["cascade"]
"""Stages of the cascade in the order in which they run."""
TRAINED = tuple(SPECS)
"""All models that have weights; `bdirnet` and `maxim` give the middle frame only."""
MIDDLE_CHOICES = ("auto", "own", *TRAINED)
"""What can give the middle frame: the best there is, the cascade's own network, or a model; or
else a weight set, a picture, or a file of another's weights."""
