"""Blur formation and simulated motion: parameter-free tensor maths."""

from blurvid.lab.synth.camera import develop, jpeg
from blurvid.lab.synth.motion import (
    IDEAL,
    Moved,
    average,
    draw_gammas,
    margin,
    simulate,
)
