"""Training: one run, from data to averaged weights."""

from blurvid.lab.train.settings import change_settings, check_options
from blurvid.lab.train.trainer import (
    LOG_FILE,
    SCORES_FILE,
    STATE_FILE,
    WEIGHTS_FOLDER,
    TrainStep,
    train,
)
