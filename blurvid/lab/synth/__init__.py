"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.lab.synth.camera import check_camera, develop, jpeg
from blurvid.lab.synth.motion import IDEAL, Rendered, check_motion, margin, simulate
from blurvid.lab.synth.paths import Moved, average, draw_gammas, simulate_paths
from blurvid.lab.synth.poses import canonical_sign

__all__ = [
    "IDEAL",
    "Moved",
    "Rendered",
    "average",
    "canonical_sign",
    "check_camera",
    "check_motion",
    "develop",
    "draw_gammas",
    "jpeg",
    "margin",
    "simulate",
    "simulate_paths",
]
