"""Photos and clips to training and evaluation windows."""

from blurvid.lab.data.pool import WindowSource, mirror
from blurvid.lab.data.source import (
    MixedSource,
    ReplaySource,
    SimulatedSource,
    Source,
    augment,
    open_source,
    resume_source,
    state_of,
)
from blurvid.lab.data.stills import StillPool, read_stills

__all__ = [
    "MixedSource",
    "ReplaySource",
    "SimulatedSource",
    "Source",
    "StillPool",
    "WindowSource",
    "augment",
    "mirror",
    "open_source",
    "read_stills",
    "resume_source",
    "state_of",
]
