"""One picture as a file whose name says what kind it is."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from blurvid.atomic import replacing
from blurvid.media.photo import Photo
from blurvid.media.stills import save_still
from blurvid.targets import check_file, still_kind


def write_still(
    image: Tensor, target: Path, photo: Photo | None = None, *, overwrite: bool = False
) -> Path:
    """Write one picture with what its photo came with, as far as the format can.

    It appears under its name when it is whole.

    Args:
        image: (3, H, W) float RGB, nominally in [0, 1], on any device.
        target: a file whose suffix names its kind; its folder is made if missing.
        photo: what it came from.
        overwrite: replace an existing file.

    Returns:
        The file written.

    Raises:
        OptionError: an unknown suffix.
        OutputError: the file exists already, or cannot be written.
        ValueError: another shape or size than the photo's, or NaN values.
    """
    target = Path(target)
    kind = still_kind(target)
    check_file(target, overwrite)
    with replacing([target]) as (temporary,):
        save_still(image, temporary, photo, kind, target)
    return target
