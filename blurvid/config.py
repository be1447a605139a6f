"""Every default, once. No torch in here, so that help screens stay instant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

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
STAGES = ("middle", "35", "26", "17")
"""Stages of the cascade in the order in which they run."""
MODELS = ("direct", "cascade")
"""The models that extract a whole sequence, best released weights first."""
TRAINED = (*MODELS, "bdirnet")
"""All models that can be trained and have weights; `bdirnet` gives the middle frame only."""

MIDDLE_CHOICES = ("auto", "own", *TRAINED)
"""What can give the middle frame: the best there is, the cascade's own network, or a model; or
else a weight set, a picture, or a file of another's weights."""

Gamma = float | Literal["srgb"]
"""Camera response: an exponent (1.0 = averaged as stored) or the sRGB curve."""

FRAME_FORMATS = ("png", "tiff", "jpg", "webp-frames")
"""Files of single frames in a folder; `webp` without more is an animation."""
FORMATS = (*FRAME_FORMATS, "gif", "mp4", "webp", "html")
"""What frames can be written as: single frames in a folder, an animation, a video, an animation
with all colours, a player for browsers."""
JPEG_QUALITY = 95
"""Of single frames, 0 to 100."""

DEFAULT_GAMMA = 2.2
"""Camera response assumed where none is known."""


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
LOCAL_WINDOW = 1.5
"""Side of the window of local statistics, in training crops (Chu et al., ECCV 2022)."""
PAPER_CROP = 320
"""Side of the paper's training crops [px] (section 7)."""
SMALLEST_SCALE = 0.05
"""Smallest scale at which a photo may be seen."""


@dataclass(frozen=True)
class QualityOptions:
    """What is done with a photo besides one plain pass of the network."""

    passes: int = 1
    """Answers averaged: 1, 2 (the photo mirrored left to right too) or 4 (top to bottom too)."""
    constraint: Gamma | None = None
    """Camera response in which the frames are made to average to the photo; None leaves them."""
    statistics: Literal["global", "local"] = "global"
    """Of the cascade's normalization: over the whole photo, or over a window around each pixel."""
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


MOST_MAKERS = 8
"""Most threads that make windows unless told otherwise."""
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
"""Photos that a worker reads or writes while another is in the network."""
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


@dataclass(frozen=True)
class SynthOptions:
    """Windows of consecutive frames averaged into blurry images."""

    frames: int = FRAMES
    """Frames averaged into one blurry image; odd, so that there is a middle frame."""
    stride: int | None = None
    """Frames from one window to the next; None means windows do not overlap."""
    scale: float = 1.0
    """Downscaling before averaging; the paper uses 0.45 on 1280x720 GoPro frames."""
    crop: int | None = None
    """Side of the random square crop [px]; None keeps whole frames. The paper uses 320."""
    gamma: Gamma = DEFAULT_GAMMA
    """Camera response in which light adds up."""
    noise: float = 0.0
    """Standard deviation of white Gaussian noise on the blurry image; the paper uses 0.01."""
    seed: int = 0
    max_motion: float = 2.0
    """Motion between neighbours [px] above which an average shows ghosts; a warning then."""


@dataclass(frozen=True)
class CameraOptions:
    """Simulated camera: what it does besides averaging."""

    shuttered: float = 0.4
    """Share of samples whose shutter is closed between frames, as in averages of video frames;
    in the others it is open all the time."""
    lights: float = 0.08
    """Share of samples with lights that saturate the sensor."""
    gain: float = 6.0
    """How much brighter than white the brightest of these lights are."""
    defocused: float = 0.15
    """Share of layers that are a little out of focus, in the frames too."""
    max_defocus: float = 1.2
    """Standard deviation of that blur [px]."""
    noise: tuple[float, float] = (0.0, 0.01)
    """Standard deviation of the noise added to y, drawn between these for each sample; the
    paper adds 0.01 (section 7)."""
    compressed: float = 0.25
    """Share of blurry images that went through JPEG."""
    quality: tuple[float, float] = (60.0, 98.0)
    """Of that JPEG."""


@dataclass(frozen=True)
class MotionOptions:
    """Simulated motion: what happens during one exposure of a still photo."""

    sub_frames: int = 3
    """Instants rendered per frame; odd, the middle one is the sharp frame."""
    max_path: float = 40.0
    """Longest path of a layer over the exposure [px]."""
    path_power: float = 1.6
    """Path length = max_path * u**path_power, u uniform: short paths are the common ones."""
    still: float = 0.08
    """Share of layers that stand still."""
    still_samples: float = 0.05
    """Share of samples in which nothing moves: what is sharp must stay sharp."""
    turning: float = 0.35
    """Share of layers that turn and zoom besides."""
    max_turn: float = 2.5
    """Largest rotation over the exposure [deg]."""
    max_zoom: float = 0.03
    """Largest change of scale over the exposure."""
    layers: int = 3
    """Most layers, background included; each sample draws its number."""
    source_scale: tuple[float, float] = (1.0, 2.0)
    """Photo pixels per rendered pixel; above 1 the frames are crisper than the photo."""
    gammas: tuple[tuple[Gamma, float], ...] = ((2.2, 0.6), ("srgb", 0.25), (1.0, 0.15))
    """Camera responses and their shares."""
    order: Literal["canonical", "random"] = "canonical"
    """`canonical`: every layer moves in the canonical direction; `random`: either way."""


@dataclass(frozen=True)
class KindOptions:
    """Kinds of blur for deblurrers of the middle frame, by their shares of the samples."""

    average: float = 1.0
    """The average of frames, as everywhere else."""
    kernel: float = 0.0
    """One random walk for the whole image."""
    rotation: float = 0.0
    """A camera that turns about three axes."""
    gaussian: float = 0.0
    """Out of focus."""
    sharp: float = 0.0
    """No blur at all."""
    walk: tuple[float, float] = (15.0, 45.0)
    """Path length of a random walk [px]."""
    turn: tuple[float, float] = (4.0, 30.0)
    """About how far a turning camera moves the image's centre, back and forth [px]."""
    sigma: tuple[float, float] = (0.7, 3.0)
    """Standard deviation of the defocus [px]."""


@dataclass(frozen=True)
class ViewLosses:
    """Weights of BDIRNet's losses beside the reconstruction of the frame from blurry views."""

    sharp: float = 0.25
    """Reconstruction from the sharp view; it also keeps the features from collapsing."""
    frequency: float = 0.05
    """Fourier loss of the reconstructions from blurry views."""
    invariance: float = 0.05
    """Distance of the features of blurry and sharp views."""
    statistics: float = 0.02
    """Distance of their means and covariances."""
    contrast: float = 0.005
    """Telling the same place in the other view from other places."""
    ramp: tuple[float, float] = (0.2, 0.4)
    """Shares of the budget at which the last three set in, and have their full weight."""
    mixing: float = 0.5
    """Share of the samples that are reconstructed with statistics drawn towards another view's."""
    temperature: float = 0.07
    """Of the contrast."""


@dataclass(frozen=True)
class UNetSpec:
    """Shape of a U-Net."""

    factor: int = 4
    """Unshuffle factor r."""
    channels: tuple[int, ...] = (64, 128, 192)
    """Channels of each level; every level halves height and width."""
    blocks: tuple[int, ...] = (2, 3, 5)
    """Residual blocks of each level, in the encoder and again in the decoder."""
    block: Literal["plain", "naf"] = "plain"
    """`plain`: two convolutions; `naf`: gates and depthwise convolutions, cheaper by far."""
    kernel: int = 3
    """Side of the blocks' convolutions, of the depthwise ones with `naf`; odd."""


@dataclass(frozen=True)
class DirectSpec(UNetSpec):
    """Shape of the direct network."""


@dataclass(frozen=True)
class BDIRSpec(UNetSpec):
    """Shape of BDIRNet.

    Without `distill` and `reconstruct` and with `skip` 1 it is a plain U-Net that adds a residual
    to the photo.
    """

    distill: bool = True
    """Statistical anti-interference distilling (SAID) in DistillNet."""
    reconstruct: bool = True
    """Anti-interference reconstruction (SAIR) in RecNet."""
    rec_blocks: int = 3
    """Residual blocks of RecNet."""
    skip: int = 4
    """What is added to RecNet's output: the photo, averaged over squares of so many pixels [px].
    1 is the photo itself."""
    window: int = 192
    """Side of the square around each pixel whose statistics normalize it [px]; the whole image
    where that is smaller."""


@dataclass(frozen=True)
class CascadeSpec:
    """Shape of the cascade. Everything but the default is for trials and ablation."""

    width: float = 1.0
    """Multiplies the channels of all five networks; 1 is the paper's."""
    contexts: Literal["sequential", "middle", "none"] = "sequential"
    """What the networks of a pair see besides y: `sequential`, the frames before them (paper,
    section 5.3); `middle`, the middle frame; `none`, no frame (both section 5.2)."""


CROPS = {"direct": 96, "cascade": 100, "bdirnet": 96}
"""Sides of the training crops [px] unless told otherwise."""


@dataclass(frozen=True)
class TrainOptions:
    """One training run."""

    model: str = "direct"
    stages: tuple[str, ...] = STAGES
    """Stages of the cascade to train; ignored by the direct model."""
    order: Literal["canonical", "invariant"] = "canonical"
    """`canonical`: one order of time and regression; `invariant`: the paper's losses."""
    loss: Literal["auto", "charbonnier", "log", "pair", "global", "independent"] = "auto"
    """`auto`: `charbonnier` for canonical order, `pair` (eq. 5) for invariant order. `log` is the
    logarithm of the squared error of each frame."""
    frequency: float = 0.0
    """Weight of the Fourier loss beside `charbonnier` and `log`."""
    teacher_forcing: bool = True
    """Show later stages of the cascade the true frames (paper, section 7); otherwise the model's
    own, through which no gradient passes: as in Table 1, a stage learns on those before it."""
    adversarial: float = 0.0
    """Weight of the adversarial loss on frames other than the middle one (Table 1)."""
    perceptual: float = 0.0
    """Weight of the perceptual loss on the middle frame (eq. 3); needs VGG16 weights."""
    context_blend: float = 0.5
    """Share of teacher-forced samples whose true frames are blended with y, so that later
    stages meet imperfect frames as they will in use; 0 is the paper's plain teacher forcing.
    Nothing is blended without teacher forcing."""
    minutes: float = 60.0
    """Time budget; the cosine schedule ends with it."""
    max_steps: int | None = None
    """Stop after this many steps even if time is left (the schedule follows steps then)."""
    batch: int = 8
    crop: int | None = None
    """Side of the training crop [px]; None takes the model's own of `CROPS`. The paper uses 320."""
    lr: float = 4e-4
    lr_end: float = 1e-6
    warmup: float = 0.02
    """Share of the budget spent warming the learning rate up."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones released."""
    reuse: int = 2
    """How often a simulated window is shown; 1 renders each step anew."""
    seed: int = 0
    log_every: int = 50
    compile: bool = False
    """Compile the networks with torch.compile: slow to start, then faster on a GPU."""
    save_minutes: float = 2.0
    """Minutes between checkpoints."""
    windows: float = 0.5
    """Share of batches that are windows of clips, where both windows and photos are given."""
    motion: MotionOptions = field(default_factory=MotionOptions)
    camera: CameraOptions = field(default_factory=CameraOptions)
    kinds: KindOptions = field(default_factory=KindOptions)
    """Kinds of blur; others than the average are for models that give the middle frame only."""
    views: ViewLosses = field(default_factory=ViewLosses)
    direct: DirectSpec = field(default_factory=DirectSpec)
    bdirnet: BDIRSpec = field(default_factory=BDIRSpec)
    cascade: CascadeSpec = field(default_factory=CascadeSpec)


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
