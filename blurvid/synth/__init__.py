"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.synth.blur import average_frames, to_image, to_light
from blurvid.synth.camera import check_camera, develop, jpeg
from blurvid.synth.constraint import constrain
from blurvid.synth.estimate import Motion, SequenceMotion, estimate_motion, estimate_sequence
from blurvid.synth.kinds import KINDS, blur, check_kinds, reach
from blurvid.synth.motion import IDEAL, Rendered, canonical_sign, check_motion, margin, simulate

__all__ = [
    "IDEAL",
    "KINDS",
    "Motion",
    "Rendered",
    "SequenceMotion",
    "average_frames",
    "blur",
    "canonical_sign",
    "check_camera",
    "check_kinds",
    "check_motion",
    "constrain",
    "develop",
    "estimate_motion",
    "estimate_sequence",
    "jpeg",
    "margin",
    "reach",
    "simulate",
    "to_image",
    "to_light",
]
