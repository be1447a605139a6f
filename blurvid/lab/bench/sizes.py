"""Sizes of the photos to time, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from blurvid.errors import OptionError
from blurvid.lab.bench.report import PAPER_ALL_SECONDS
from blurvid.lab.options import RESOLUTIONS, SWEEP


def photo_sizes(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Turn names into sizes, each once.

    Args:
        names: keys of `options.RESOLUTIONS`, `WIDTHxHEIGHT`, or several at once: `paper` (those
            of Table 3), `sweep` (0.1 to 12 megapixels) and `all`.

    Returns:
        Height and width [px] by name; names of several are replaced by what they stand for.

    Raises:
        OptionError: an unknown name, or none at all.
    """
    several = {"paper": tuple(PAPER_ALL_SECONDS), "sweep": SWEEP, "all": tuple(RESOLUTIONS)}
    known = f"there are {', '.join([*RESOLUTIONS, *several])} and WIDTHxHEIGHT"
    sizes = {}
    for name in (single for given in names for single in several.get(given, (given,))):
        match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", name)
        if match is not None:
            sizes[name] = (int(match[2]), int(match[1]))
        elif name in RESOLUTIONS:
            sizes[name] = RESOLUTIONS[name]
        else:
            raise OptionError(f"no resolution named {name!r}; {known}")
    if not sizes:
        raise OptionError(f"no resolution to time; {known}")
    return sizes
