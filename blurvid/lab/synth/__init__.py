"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.lab.synth.camera import check_camera, develop, jpeg
from blurvid.lab.synth.kinds import KINDS, blur, check_kinds, reach
from blurvid.lab.synth.motion import IDEAL, Rendered, canonical_sign, check_motion, margin, simulate
from blurvid.lab.synth.paths import Moved, average, draw_gammas, simulate_paths

__all__ = [
    "IDEAL",
    "KINDS",
    "Moved",
    "Rendered",
    "average",
    "blur",
    "canonical_sign",
    "check_camera",
    "check_kinds",
    "check_motion",
    "develop",
    "draw_gammas",
    "jpeg",
    "margin",
    "reach",
    "simulate",
    "simulate_paths",
]
