"""Motion during an exposure, found in the photo, and the picture behind it. No parameters.

One moving picture explains the photo: frame_t(x) = L(x + a(x) t + b(x) t²), t = -1 to 1, and the
photo is their mean in linear light. `fit` finds L, a and b with the help of networks.
"""

from blurvid.exposure import TIMES
from blurvid.trajectory.course import Course, Courses, Shutter, Sighting, sighted
from blurvid.trajectory.hints import Hints, Proposal
from blurvid.trajectory.paths import Motion, reblur
from blurvid.trajectory.pyramid import (
    Fit,
    Progress,
    Restored,
    fit,
    resting,
)
from blurvid.trajectory.sampling import crisp, steepness
