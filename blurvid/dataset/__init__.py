"""Photos and clips to training and evaluation windows."""

from blurvid.dataset.pool import WindowSource, mirror
from blurvid.dataset.source import (
    MixedSource,
    ReplaySource,
    SimulatedSource,
    Source,
    augment,
    open_source,
    resume_source,
    state_of,
)
from blurvid.dataset.stills import StillPool, read_stills

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
