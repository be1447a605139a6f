"""What can go wrong, as classes, and causes in words; `cli` makes lines and exit codes of them."""

import errno

LONGEST = 2000
"""Most letters of a message; what is beyond is left out of its middle."""


class BlurvidError(Exception):
    """Base of every error that a user can cause; its text is one line to show.

    Names in it may come from anywhere: line breaks are shown as escapes, long texts are cut.
    """

    code = 1
    """Exit code of the command that it ends."""

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
        return "".join(
            repr(letter)[1:-1] if letter.splitlines() == [""] else letter for letter in text
        )


class OptionError(BlurvidError):
    """Options that do not go together or lie out of range."""

    code = 2


class InputError(BlurvidError):
    """An input that is missing, unreadable or not what it should be."""

    code = 3


class WeightsError(BlurvidError):
    """Weights that are missing, corrupt or not to be trusted."""

    code = 4


class DeviceError(BlurvidError):
    """A device that is not there or has too little memory."""

    code = 5


class OutputError(BlurvidError):
    """An output that could not be written."""

    code = 6


class ExistsError(OutputError):
    """An output that is there already and is not to be replaced."""


class TrainingError(BlurvidError):
    """A training run that cannot go on (a loss that is not finite, say)."""


_PLAIN = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, not a file",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.ENAMETOOLONG: "the name is too long",
}


def reason(error: BaseException) -> str:
    """Say what an exception means, on one line and without the file's name."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.errno is not None:
        return _PLAIN.get(error.errno) or (error.strerror or type(error).__name__).lower()
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """What an exception of any library says, its first line alone."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
