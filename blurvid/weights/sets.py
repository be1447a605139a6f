"""Weight sets on disk: where they are looked for."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from blurvid.config import MODELS, TRAINED
from blurvid.errors import WeightsError
from blurvid.weights.describe import NAME, SET_FILE, Origin, WeightSet, read_set


def cache_dir() -> Path:
    """Directory that holds the cache: `BLURVID_HOME`, else the platform's cache directory.

    Sets are in its folder `weights`. The directory need not exist.

    Raises:
        WeightsError: nothing says where it is: no home directory is known.
    """
    import platformdirs  # without which the man page is made

    home = os.environ.get("BLURVID_HOME")
    try:
        if home:
            return Path(home).expanduser()
        found = platformdirs.user_cache_path("blurvid", appauthor=False)
    except RuntimeError:
        found = Path("~")
    if not found.is_absolute():  # as older versions of platformdirs answer
        raise WeightsError(
            "no home directory is known for the cache; set HOME, or BLURVID_HOME to a folder"
        )
    return found


def sets_dir() -> Path:
    """Directory of the cached sets; a WeightsError where there is no cache."""
    return cache_dir() / "weights"


def _cached() -> Path | None:
    """Directory of the cached sets; None where there are none, or it may not be looked into."""
    try:
        root = sets_dir()
    except WeightsError:
        return None
    return root if os.access(root, os.R_OK | os.X_OK) else None


def released_dir() -> Path:
    """Directory of the sets that ship with the package.

    In an installed package it is inside it; in a source checkout it stands beside it.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "released"
    return installed if installed.is_dir() else package.parent / "weights"


def find(name_or_dir: str | Path | None = None, model: str = "auto") -> WeightSet:
    """Find a weight set.

    The search goes through the name or directory given, `BLURVID_WEIGHTS`, the cache, and the
    sets that ship with the package. A plain word is a name first; `./word` is a directory.
    Without a name, a model's own set is the cached one named like the model, else the best
    released one; `auto` takes the motion model's, or else the best of the others' own sets.

    Args:
        name_or_dir: name of a set, or its directory.
        model: `auto`, or the model that the set must belong to.

    Raises:
        WeightsError: there is no such set, it is damaged, or it belongs to another model.
    """
    if model not in ("auto", *TRAINED):
        raise WeightsError(f"no model named {model!r}; there are auto, {', '.join(TRAINED)}")
    if name_or_dir is not None:
        return _agreeing(_referenced(name_or_dir, "path"), model, "")
    variable = os.environ.get("BLURVID_WEIGHTS")
    if variable:
        found = _referenced(variable, "env")
        return _agreeing(found, model, " (named by BLURVID_WEIGHTS)")

    wanted = MODELS if model == "auto" else (model,)
    defaults = [entry for entry in map(default, wanted) if entry is not None]
    if not defaults:
        what = "weights" if model == "auto" else f"weights of the {model} model"
        raise WeightsError(
            f"no {what} in {_places()}{_known()}; name the directory of a set, or make one with "
            "'blurvid weights import'"
        )
    # max() keeps the first of equals, and MODELS begins with the best
    return max(defaults, key=lambda entry: (entry.model == MODELS[0], _rank(entry)))


def best_middle(own: WeightSet | None = None) -> WeightSet | None:
    """Find the set that gives the best middle frame: the motion model's, or that of best score.

    Args:
        own: a cascade's, which keeps its own network unless its score is known and lower; it is
            not given the middle frame of the motion model, which has all seven itself.

    Returns:
        The set; None for that of the cascade itself.

    Raises:
        WeightsError: a default set is damaged, or none gives a middle frame.
    """
    if own is not None and own.middle_score is None:
        return None
    names = TRAINED if own is None else TRAINED[1:]
    found = [entry for entry in map(default, names) if entry is not None]
    best = max(
        found,
        key=lambda entry: (entry.model == MODELS[0], _or_least(entry.middle_score)),
        default=None,
    )
    if own is not None:
        better = best is not None and _or_least(best.middle_score) > _or_least(own.middle_score)
        return best if better else None
    if best is None:
        raise WeightsError(f"no weights in {_places()}{_known()}")
    return best


def list_sets() -> list[WeightSet]:
    """All readable sets in the cache and the package, cached ones first, each by name.

    A cached set hides a released one of the same name. Damaged sets are left out; `find` says
    what is wrong with them.
    """
    found: dict[str, WeightSet] = {}
    for root, origin in _roots():
        for directory in _directories(root):
            try:
                entry = read_set(directory, origin)
            except WeightsError:
                continue
            found.setdefault(entry.name, entry)
    return list(found.values())


def _referenced(reference: str | Path, origin: Literal["path", "env"]) -> WeightSet:
    """Find the set that a name or a directory refers to."""
    text = str(reference)
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # no home directory is known
        path = path.expanduser()
    if NAME.fullmatch(text) and not (isinstance(reference, Path) and path.is_dir()):
        named = _named(text)
        if named is not None:
            return named if origin == "path" else replace(named, origin=origin)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError:  # too long a name, or a folder that may not be entered
        is_file = is_folder = False
    if is_file:
        if path.name == SET_FILE:
            return read_set(path.parent, origin)
        raise WeightsError(
            f"{path} is a file, not the directory of a weight set; the authors' .pth files "
            "become one with 'blurvid weights import'"
        )
    if is_folder:
        return read_set(path, origin)
    source = "" if origin == "path" else ", which BLURVID_WEIGHTS names,"
    raise WeightsError(
        f"weights {text!r}{source} are neither a directory nor a set in {_places()}{_known()}"
    )


def _named(name: str) -> WeightSet | None:
    """Find a set by name in the cache and the package."""
    for root, origin in _roots():
        if (root / name / SET_FILE).is_file():
            return read_set(root / name, origin)
    return next((entry for entry in list_sets() if entry.name == name), None)


def default(model: str) -> WeightSet | None:
    """Find the set that a model uses when none is named.

    Args:
        model: one of `config.TRAINED`.

    Returns:
        None where it has none.

    Raises:
        WeightsError: it is damaged.
    """
    root = _cached()
    if root is not None and (root / model / SET_FILE).is_file():
        shadow = read_set(root / model, "cache")
        if shadow.model == model:
            return shadow
    released = [
        entry
        for directory in _directories(released_dir())
        if (entry := read_set(directory, "released")).model == model
    ]
    return max(released, key=_rank, default=None)


def _rank(entry: WeightSet) -> float:
    return _or_least(entry.score)


def _or_least(score: float | None) -> float:
    return -math.inf if score is None else score


def _agreeing(found: WeightSet, model: str, note: str) -> WeightSet:
    """Hand the set on if it belongs to the model asked for."""
    if model not in ("auto", found.model):
        raise WeightsError(
            f"the weight set {found.name!r} at {found.path}{note} belongs to the {found.model} "
            f"model, not to {model}; name another set or choose --model {found.model}"
        )
    return found


def _roots() -> Iterator[tuple[Path, Origin]]:
    """Directories that hold sets, in the order of the search."""
    cached = _cached()
    if cached is not None:
        yield cached, "cache"
    yield released_dir(), "released"


def _directories(root: Path) -> list[Path]:
    """Directories of sets below a root, by name; unfinished ones begin with a dot."""
    try:
        return sorted(path.parent for path in root.glob(f"[!.]*/{SET_FILE}"))
    except OSError:
        return []


def _places() -> str:
    """Where sets are looked for, in words."""
    try:
        return f"{sets_dir()} or {released_dir()}"
    except WeightsError:
        return str(released_dir())


def _known() -> str:
    names = [entry.name for entry in list_sets()]
    return f" (there are {', '.join(names)})" if names else " (there are no sets)"
