"""Photos and clips to training and evaluation windows."""

from blurvid.lab.data.pool import WindowSource, mirror
from blurvid.lab.data.replay import ReplaySource
from blurvid.lab.data.source import MixedSource, SimulatedSource, augment, open_source
from blurvid.lab.data.stills import StillPool, read_stills
from blurvid.lab.data.supply import Batch, Source, validation_of

__all__ = [
    "Batch",
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
    "validation_of",
]
