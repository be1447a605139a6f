"""What a player needs to turn objects around, and to say how that is repeated."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from blurvid import media
from blurvid.config import FRAMES, QUALITIES, QualityOptions
from blurvid.flow import Field, find_objects, middle_of, region_of
from blurvid.flow.sampling import limited
from blurvid.flow.seam import SEAM_SIDE, weights

_WHOLE = 0.95
"""An object that is more of the photo than this is the photo."""


def movables(frames: Tensor, field: Field) -> list[media.Movable]:
    """Find what can be turned around in a player.

    Args:
        frames: (7, 3, H, W), RGB, in [0, 1].
        field: their motion.
    """
    height, width = frames.shape[-2:]
    labels = find_objects(field)
    found = []
    for number in range(1, int(labels.max()) + 1):
        share = float((labels == number).float().mean())
        if not 0 < share <= _WHOLE:
            continue
        mask = weights(frames, region_of(labels, number, height, width))
        mask = limited(mask[None, None], SEAM_SIDE)[0, 0]
        x, y = middle_of(labels, number)
        levels = mask.mul(255).round().byte().numpy()
        found.append(media.Movable(levels, f"{100 * x:.1f}%,{100 * y:.1f}%"))
    return found


def origin(
    photo: media.Photo,
    model: str,
    weight_set: str,
    quality: QualityOptions,
    middle: str | None,
    direction: str,
    flips: Sequence[str],
    frames: int = FRAMES,
    beyond: int = 0,
) -> media.Origin:
    """The command line that gives the frames of a clip again."""
    name = "photo.jpg" if photo.name == "-" else Path(photo.name).name or "photo.jpg"
    if name.startswith("-"):
        name = f"./{name}"
    words = ["blurvid", "extract", name, "--model", model, "--weights", weight_set]
    plain = QualityOptions()
    if quality.passes != plain.passes:
        words += ["--quality", next(key for key, n in QUALITIES.items() if n == quality.passes)]
    if quality.constraint is not None:
        words += ["--constraint", str(quality.constraint)]
    if quality.scale != plain.scale:
        words += ["--scale", str(quality.scale)]
    if middle is not None:
        words += ["--middle", middle]
    if direction != "auto":
        words += ["--direction", direction]
    for region in flips:
        words += ["--flip", region]
    if frames != FRAMES:
        words += ["--frames", str(frames)]
    if beyond:
        words += ["--beyond", str(beyond)]
    stem = Path(name).stem
    outputs = {end.upper(): shlex.quote(f"{stem}.{end}") for end in ("mp4", "gif", "webp")}
    return media.Origin(shlex.join(words), outputs)
