"""Training: shapes of networks, losses, runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from blurvid.config.basics import STAGES
from blurvid.config.data import CameraOptions, KindOptions, MotionOptions


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
class MaximSpec:
    """Shape of MAXIM."""

    stages: int = 1
    """U-Nets one after the other, 1 to 3; the first alone deblurs as well (see the model card)."""
    features: int = 32
    """Channels of the finest scale; every coarser one has twice as many."""


@dataclass(frozen=True)
class CascadeSpec:
    """Shape of the cascade. Everything but the default is for trials and ablation."""

    width: float = 1.0
    """Multiplies the channels of all five networks; 1 is the paper's."""
    contexts: Literal["sequential", "middle", "none"] = "sequential"
    """What the networks of a pair see besides y: `sequential`, the frames before them (paper,
    section 5.3); `middle`, the middle frame; `none`, no frame (both section 5.2)."""


CROPS = {"direct": 96, "cascade": 100, "bdirnet": 96}
"""The models that `train` trains, and the sides of their training crops [px] unless told
otherwise."""


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
