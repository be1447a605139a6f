"""What text says of a part of a photo, before any photo is read."""

from __future__ import annotations

import re
from pathlib import Path

from blurvid.errors import OptionError

Edges = tuple[tuple[float, bool], ...]
"""Left, top, width, height, or only the first two; each a number, and whether it is percent."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*")


def edges_of(name: str) -> Edges | None:
    """The numbers of a rectangle or a point; None where the text names the image of a mask.

    Raises:
        OptionError: neither, or nothing in it.
    """
    matches = [_NUMBER.fullmatch(part) for part in name.split(",")]
    found = [match for match in matches if match is not None]
    if len(found) == len(matches) and len(found) in (2, 4):
        edges = tuple((float(match[1]), bool(match[2])) for match in found)
        if not all(side for side, _ in edges[2:]):
            raise OptionError(f"the region {name} is empty")
        return edges
    if "," in name and not Path(name).exists():
        raise OptionError(
            f"{name!r} is no region: use X,Y,W,H or X,Y in pixels or percent, or an image of a mask"
        )
    return None
