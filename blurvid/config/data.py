"""Data: averages of frames, simulated motion and cameras, kinds of blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from blurvid.config.basics import DEFAULT_GAMMA, FRAMES, Gamma


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
