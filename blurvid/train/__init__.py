"""Training: one run, from data to averaged weights."""

from blurvid.train.meter import TrainStep
from blurvid.train.preview import preview
from blurvid.train.run import train
from blurvid.train.settings import change_settings, check_options
from blurvid.train.trainer import LOG_FILE, STATE_FILE, WEIGHTS_FOLDER

__all__ = [
    "LOG_FILE",
    "STATE_FILE",
    "WEIGHTS_FOLDER",
    "TrainStep",
    "change_settings",
    "check_options",
    "preview",
    "train",
]
