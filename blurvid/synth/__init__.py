"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.synth.blur import average_frames, to_image, to_light
from blurvid.synth.estimate import Motion, SequenceMotion, estimate_motion, estimate_sequence
from blurvid.synth.motion import Rendered, canonical_sign, check_motion, margin, simulate

__all__ = [
    "Motion",
    "Rendered",
    "SequenceMotion",
    "average_frames",
    "canonical_sign",
    "check_motion",
    "estimate_motion",
    "estimate_sequence",
    "margin",
    "simulate",
    "to_image",
    "to_light",
]
