"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.lab.synth.camera import check_camera, develop, jpeg
from blurvid.lab.synth.motion import (
    IDEAL,
    Moved,
    average,
    check_motion,
    draw_gammas,
    margin,
    simulate,
)
