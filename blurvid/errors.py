"""What can go wrong, as classes; `cli` turns each into one line and an exit code."""


class BlurvidError(Exception):
    """Base of every error that a user can cause; its text is one line to show."""


class OptionError(BlurvidError):
    """Options that do not go together or lie out of range."""


class InputError(BlurvidError):
    """An input that is missing, unreadable or not what it should be."""


class WeightsError(BlurvidError):
    """Weights that are missing, corrupt or not to be trusted."""


class DeviceError(BlurvidError):
    """A device that is not there or has too little memory."""


class OutputError(BlurvidError):
    """An output that could not be written."""


class TrainingError(BlurvidError):
    """A training run that cannot go on (a loss that is not finite, say)."""
