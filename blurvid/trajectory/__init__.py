"""Motion during an exposure, found in the photo, and the picture behind it. No parameters.

One moving picture explains the photo: frame_t(x) = L(x + a(x) t + b(x) t²) in linear light,
t = -1 to 1, and the photo is the mean of seven frames. `fit` finds L, a and b; `render` makes
frames for any t.
"""

from blurvid.trajectory.deconvolution import Prior, solve
from blurvid.trajectory.paths import TIMES, Motion, reblur, render
from blurvid.trajectory.pyramid import Fit, Progress, Sharpen, fit, fit_motion
from blurvid.trajectory.search import find_motion

__all__ = [
    "TIMES",
    "Fit",
    "Motion",
    "Prior",
    "Progress",
    "Sharpen",
    "fit",
    "fit_motion",
    "reblur",
    "render",
    "find_motion",
    "solve",
]
