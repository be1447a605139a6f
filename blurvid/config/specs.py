"""Shapes of networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


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
class MotionSpec:
    """Shape of the motion network."""

    channels: tuple[int, ...] = (32, 64, 128, 160, 192)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the photo's size."""
    blocks: tuple[int, ...] = (1, 2, 2, 3)
    """Residual blocks at 1/4 to 1/32, and again on the way back but for the last."""
    reach: float = 15.0
    """Longest half displacement in the cost volume [px of the half-size image]."""


@dataclass(frozen=True)
class RestoreSpec:
    """Shape of the restoration network."""

    factor: int = 4
    """Unshuffle factor r."""
    channels: tuple[int, ...] = (96, 128, 192)
    """Channels of each level; every level halves height and width."""
    blocks: tuple[int, ...] = (3, 3, 4)
    """Residual blocks of each level, in the encoder and again in the decoder."""
    carried: int = 48
    """Channels of the features that are carried along the path to each frame."""
    kernel: int = 5
    """Side of the depthwise convolutions; odd."""


@dataclass(frozen=True)
class MotionModelSpec:
    """Shapes of the motion model's own networks."""

    motion: MotionSpec = field(default_factory=MotionSpec)
    restore: RestoreSpec = field(default_factory=RestoreSpec)


@dataclass(frozen=True)
class CascadeSpec:
    """Shape of the cascade. Everything but the default is for trials and ablation."""

    width: float = 1.0
    """Multiplies the channels of all five networks; 1 is the paper's."""
    contexts: Literal["sequential", "middle", "none"] = "sequential"
    """What the networks of a pair see besides y: `sequential`, the frames before them (paper,
    section 5.3); `middle`, the middle frame; `none`, no frame (both section 5.2)."""


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
