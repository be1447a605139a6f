"""Options of the lab: data, training, timing, scores. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from blurvid.bounds import MOST, Bounds, Count, Share, Weight
from blurvid.config import (
    DEFAULT_GAMMA,
    FRAMES,
    STAGES,
    CascadeSpec,
    DirectSpec,
    MaximSpec,
    MotionModelSpec,
)

Pair = tuple[float, float]
MOST_MAKERS = 8
"""Most threads that make windows unless told otherwise."""


@dataclass(frozen=True)
class SynthOptions:
    """Windows of consecutive frames averaged into blurry images."""

    frames: Annotated[int, Bounds(3, MOST, odd=True)] = FRAMES
    """Frames averaged into one blurry image; odd, so that there is a middle frame."""
    stride: Count | None = None
    """Frames from one window to the next; None means windows do not overlap."""
    scale: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """Downscaling before averaging; the paper uses 0.45 on 1280x720 GoPro frames."""
    crop: Annotated[int, Bounds(16, MOST)] | None = None
    """Side of the random square crop [px]; None keeps whole frames. The paper uses 320."""
    gamma: Annotated[float, Bounds(0.1, 10)] | Literal["srgb"] = DEFAULT_GAMMA
    """Camera response in which light adds up."""
    noise: Weight = 0.0
    """Standard deviation of white Gaussian noise on the blurry image; the paper uses 0.01."""
    seed: int = 0
    max_motion: float = 2.0
    """Motion between neighbours [px] above which an average shows ghosts; a warning then."""


@dataclass(frozen=True)
class CameraOptions:
    """Simulated camera: what it does besides averaging."""

    shuttered: Share = 0.4
    """Share of samples whose shutter is closed between frames, as in averages of video frames;
    in the others it is open all the time."""
    lights: Share = 0.08
    """Share of samples with lights that saturate the sensor."""
    gain: Weight = 6.0
    """How much brighter than white the brightest of these lights are."""
    defocused: Share = 0.15
    """Share of layers that are a little out of focus, in the frames too."""
    max_defocus: Weight = 1.2
    """Standard deviation of that blur [px]."""
    sharpened: Share = 0.0
    """Share of samples that the camera sharpens, y and the frames alike."""
    toned: Share = 0.0
    """Share of samples with a tone curve of their own, likewise."""
    noise: Annotated[Pair, Bounds(0, rising=True)] = (0.0, 0.01)
    """Standard deviation of the noise added to y, drawn between these for each sample; the
    paper adds 0.01 (section 7)."""
    noisy: Share = 1.0
    """Share of samples that have noise."""
    shot: bool = False
    """Whether noise grows with the light: that of white is the one drawn, about."""
    noise_kept: bool = False
    """Whether the frames have the noise of y, too: taking it away is learned on texture as well."""
    grain: Share = 0.0
    """Share of noisy samples whose noise is coarse, as denoising and demosaicing leave it."""
    compressed: Share = 0.25
    """Share of blurry images that went through JPEG."""
    quality: Annotated[Pair, Bounds(1, 100, rising=True)] = (60.0, 98.0)
    """Of that JPEG."""


@dataclass(frozen=True)
class MotionOptions:
    """Simulated motion: what happens during one exposure of a still photo."""

    sub_frames: Annotated[int, Bounds(1, MOST, odd=True)] = 3
    """Instants rendered per frame; odd, the middle one is the sharp frame."""
    max_path: Weight = 40.0
    """Longest path of a layer over the exposure [px]; short ones are the common ones."""
    still: Share = 0.15
    """Share of layers that stand still."""
    covered: Share = 0.6
    """Share of pictures with a layer in front."""
    shaken: Share = 0.0
    """Share of pictures before a camera in a hand that shakes, on paths of no simple shape."""
    source_scale: Annotated[Pair, Bounds(0, above=True, rising=True)] = (1.0, 2.0)
    """Photo pixels per pixel of a layer; above 1 the frames are crisper than the photo."""
    gammas: Annotated[Pair, Bounds(0, above=True, rising=True)] = (1.0, 2.6)
    """Camera responses; half of the samples have 2.2."""
    order: Literal["canonical", "random"] = "canonical"
    """`canonical`: every layer moves to the right; `random`: either way."""


@dataclass(frozen=True)
class PathOptions:
    """What the motion model learns by; other models ignore it."""

    middle: str = "maxim"
    """Weight set whose network, which does not learn, gives the middle frames."""
    held_out: tuple[str, ...] = ()
    """Clips of the validation, by the beginnings of their names; every eighth if none is named."""
    validated: Count = 3
    """Most windows of each of them."""
    true_motion: Share = 0.25
    """Share of samples whose motion the restoration network is told, not shown what was found."""
    joined: Share = 0.5
    """Share of the budget after which the restoration's errors teach the motion network, too."""
    warped: Weight = 20.0
    """Weight of the absolute error of plain warps of the middle frame."""
    field: Weight = 0.15
    """Weight of the error of the paths."""
    surely: Weight = 0.05
    """Weight of the likelihood of that error."""
    restored: Weight = 20.0
    """Weight of the errors of the restored frames, by pixels and by frequencies; half of it is
    that of the picture's."""


CROPS = {"motion": 256, "direct": 96, "cascade": 100, "maxim": 256}
"""Sides of the training crops [px] unless told otherwise."""
STAGES_OF = {"cascade": STAGES, "motion": ("motion", "restore")}
"""What can be trained alone of the models that are several networks."""


Loss = Literal["auto", "charbonnier", "squared", "pair", "global"]
"""Losses on frames other than the middle one."""


@dataclass(frozen=True)
class TrainOptions:
    """One training run."""

    model: str = "direct"
    stages: tuple[str, ...] = STAGES
    """Networks to train, of the cascade or of the motion model; ignored by the others."""
    order: Literal["canonical", "nearest", "invariant"] = "canonical"
    """`canonical`: one order of time and regression; `nearest`: regression, in the order that the
    frames of the direct model are nearer to; `invariant`: the paper's losses."""
    loss: Loss = "auto"
    """`auto`: `pair` (eq. 5) for invariant order, else `charbonnier`."""
    frequency: Weight = 0.0
    """Weight of the Fourier loss beside `charbonnier` and `squared`."""
    teacher_forcing: bool = True
    """Show later stages of the cascade the true frames (paper, section 7); otherwise the model's
    own, through which no gradient passes: as in Table 1, a stage learns on those before it."""
    adversarial: Weight = 0.0
    """Weight of the adversarial loss on frames other than the middle one (Table 1)."""
    perceptual: Weight = 0.0
    """Weight of the perceptual loss on the middle frame (eq. 3); needs VGG16 weights."""
    context_blend: Share = 0.5
    """Share of teacher-forced samples whose true frames are blended with y, so that later
    stages meet imperfect frames as they will in use; 0 is the paper's plain teacher forcing.
    Nothing is blended without teacher forcing."""
    minutes: Weight = 60.0
    """Time budget; the cosine schedule ends with it."""
    max_steps: Annotated[int, Bounds(0, MOST)] | None = None
    """Stop after this many steps even if time is left (the schedule follows steps then)."""
    batch: Count = 8
    crop: Count | None = None
    """Side of the training crop [px]; None takes the model's own of `CROPS`. The paper uses 320."""
    lr: Weight = 4e-4
    lr_end: Weight = 1e-6
    warmup: Share = 0.02
    """Share of the budget spent warming the learning rate up."""
    weight_decay: Weight = 0.0
    clip: Weight = 1.0
    """Largest gradient norm."""
    ema: Share = 0.999
    """Decay of the averaged weights, which are the ones released."""
    seed: Annotated[int, Bounds(-MOST, MOST)] = 0
    log_every: Count = 50
    compile: bool = False
    """Compile the networks with torch.compile: slow to start, then faster on a GPU."""
    save_minutes: Weight = 2.0
    """Minutes between checkpoints."""
    windows: Share = 0.5
    """Share of each batch that is windows of clips, where both windows and photos are given."""
    motion: MotionOptions = field(default_factory=MotionOptions)
    camera: CameraOptions = field(default_factory=CameraOptions)
    paths: PathOptions = field(default_factory=PathOptions)
    """For the motion model."""
    networks: MotionModelSpec = field(default_factory=MotionModelSpec)
    """Shape of the motion model's."""
    direct: DirectSpec = field(default_factory=DirectSpec)
    cascade: CascadeSpec = field(default_factory=CascadeSpec)
    maxim: MaximSpec = field(default_factory=MaximSpec)


_MOVED = MotionOptions(max_path=56.0, source_scale=(0.75, 1.2), gammas=(1.8, 2.6), order="random")
_CAMERA = CameraOptions(
    shuttered=0.0,
    lights=0.4,
    gain=5.0,
    defocused=0.0,
    noise=(0.0, 0.016),
    noisy=0.55,
    shot=True,
    grain=0.4,
    compressed=0.5,
    quality=(30.0, 97.0),
)
RECIPES = {
    "maxim": TrainOptions(
        model="maxim",
        frequency=0.5,
        minutes=80.0,
        batch=2,
        lr=2e-5,
        warmup=0.04,
        clip=2.0,
        ema=0.997,
        motion=replace(_MOVED, shaken=0.3),
        camera=replace(
            _CAMERA, defocused=0.3, max_defocus=4.0, sharpened=0.25, toned=0.25, noise_kept=True
        ),
    ),
    "motion": TrainOptions(
        model="motion",
        stages=STAGES_OF["motion"],
        minutes=10.0,
        batch=32,
        lr=5e-4,
        lr_end=1e-5,
        warmup=0.09,
        weight_decay=1e-4,
        clip=3.0,
        ema=0.998,
        windows=0.7,
        motion=_MOVED,
        camera=_CAMERA,
    ),
}
"""Defaults of models that differ from those of `TrainOptions`."""


def recipe_of(model: str) -> TrainOptions:
    """A run of a model, everything by default."""
    return RECIPES.get(model) or TrainOptions(model=model)


RESOLUTIONS = {
    "320": (320, 568),
    "360": (360, 640),
    "480": (480, 854),
    "720": (720, 1280),
    "1080": (1080, 1920),
    "12mp": (3000, 4000),
}
"""Height and width [px] of photos to time."""
BENCHED = ("motion", "direct", "cascade", "maxim")
"""Models to time unless told otherwise: what `extract` runs, and with `--fast`; beside them the
paper's own, and a good deblurrer of one frame."""
PAPER_SECONDS = {
    FRAMES: {"320": 0.61, "480": 0.74, "720": 1.10},
    1: {"320": 0.24, "480": 0.30, "720": 0.45},
}
"""Time of all seven frames and of the middle one on a Titan X [s] (Jin et al. 2018, Table 3)."""

BLUR_FOLDERS = ("blur", "blur_gamma")
"""Blurry images in GOPRO_Large, averaged as stored and in light (gamma 2.2). Nah's network has
28.48 dB in the paper's Table 2; others measured 28.49 dB for it on the first and 29.12 dB on the
other (SeungjunNah/DeepDeblur_release, issue 8): most likely the paper took the first."""
