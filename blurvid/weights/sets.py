"""Weight sets on disk: where they are looked for, and whether they are what they say."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from blurvid.config import MODELS, PARTS, TRAINED
from blurvid.errors import WeightsError

FORMAT = 1
"""Version of the layout of a weight set that this code reads and writes."""
SET_FILE = "set.json"
SCORE = "seven_frame_psnr"
"""The score [dB] by which `auto` compares models."""
MIDDLE_SCORE = "middle_gain"
"""The score [dB] by which `auto` compares what gives the middle frame: what it gains over the
blurry photo, on average over kinds of blur."""
MAX_SCORE = 1e6
"""Scores [dB] beyond, NaN and infinity are no scores."""
MAX_SET_BYTES = 2**20
MAX_FILE_BYTES = 2**30
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names under which a set can be kept in the cache."""

Origin = Literal["path", "env", "cache", "released"]


@dataclass(frozen=True)
class WeightSet:
    """A weight set whose `set.json` has been read; its files have not."""

    path: Path
    """The directory."""
    info: dict[str, Any] = field(hash=False, repr=False)
    """What `set.json` says, unknown keys included."""
    origin: Origin
    """How it was found."""

    @property
    def name(self) -> str:
        """What it calls itself."""
        return str(self.info["name"])

    @property
    def model(self) -> str:
        """One of `config.TRAINED`."""
        return str(self.info["model"])

    @property
    def score(self) -> float | None:
        """PSNR of the seven frames [dB] in the released evaluation; None when not known."""
        return self._score(SCORE)

    @property
    def middle_score(self) -> float | None:
        """Gain of the middle frame [dB], mean over kinds of blur; None when not known."""
        return self._score(MIDDLE_SCORE)

    def _score(self, name: str) -> float | None:
        scores = self.info.get("scores")
        score = scores.get(name) if isinstance(scores, dict) else None
        # whole numbers in JSON may be too large for a float; comparing them is safe
        if isinstance(score, bool) or not isinstance(score, int | float):
            return None
        return float(score) if -MAX_SCORE < score < MAX_SCORE else None

    @property
    def middle(self) -> str | None:
        """Name of the set whose network gives the model its middle frame, where one has to."""
        middle = self.info.get("middle")
        return middle if isinstance(middle, str) and NAME.fullmatch(middle) else None

    def file(self, part: str) -> Path:
        """Path of the file that holds a part."""
        return self.path / str(self.info["files"][part]["file"])

    def read(self, part: str) -> bytes:
        """Contents of the file that holds a part, whose size and digest are right.

        Raises:
            WeightsError: they are not, or it cannot be read.
        """
        path, entry = self.file(part), self.info["files"][part]
        data = read_file(path, entry["bytes"], f"{path} is missing; get the weight set again")
        if len(data) != entry["bytes"]:
            actual = len(data) if len(data) < entry["bytes"] else "more"
            raise WeightsError(
                f"{path} has {actual} bytes instead of {entry['bytes']}; it is incomplete or was "
                "changed, get the weight set again"
            )
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise WeightsError(
                f"{path} does not have the SHA-256 in {SET_FILE}; it is damaged or was changed, "
                "get the weight set again"
            )
        return data

    def verify(self) -> None:
        """Compare every file with the size and SHA-256 in `set.json`.

        Raises:
            WeightsError: a file is missing, is a Git LFS pointer, or differs.
        """
        for part in self.info["files"]:
            self.read(part)


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
            f"no {what} in {_places()}; name the directory of a set, or make one with "
            "'blurvid weights import'"
        )
    # max() keeps the first of equals, and MODELS begins with the best
    return max(defaults, key=lambda entry: (entry.model == MODELS[0], _or_least(entry.score)))


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
        raise WeightsError(f"no weights in {_places()}")
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
    raise WeightsError(f"weights {text!r}{source} are neither a directory nor a set in {_places()}")


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
    return max(released, key=lambda entry: _or_least(entry.score), default=None)


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
    """Where sets are looked for, and which there are, in words."""
    places = [released_dir()]
    with contextlib.suppress(WeightsError):
        places.insert(0, sets_dir())
    known = ", ".join(entry.name for entry in list_sets()) or "no sets"
    return f"{' or '.join(map(str, places))} (there are {known})"


def read_set(directory: Path, origin: Origin) -> WeightSet:
    """Read and check a `set.json`.

    Raises:
        WeightsError: it is missing, unreadable, or does not describe a weight set.
    """
    path = directory / SET_FILE
    lacking = f"{directory} is not a weight set: it has no {SET_FILE}"
    data = read_file(path, MAX_SET_BYTES, lacking)
    return WeightSet(directory, described(path, data), origin)


def described(path: Path | str, data: bytes) -> dict[str, Any]:
    """What a `set.json` says that describes a weight set; `path` is for messages.

    Raises:
        WeightsError: it does not describe one.
    """
    if len(data) > MAX_SET_BYTES:
        raise WeightsError(f"{path} is too large to be the description of a weight set")
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is not valid JSON; get the weight set again") from None
    problem = _problem(info)
    if problem is not None:
        raise WeightsError(f"{path} does not describe a weight set: {problem}")
    return dict(info)


def _problem(info: object) -> str | None:
    """First thing that is wrong with the contents of a `set.json`."""
    if not isinstance(info, dict):
        return "it is not an object"
    version = info.get("format")
    if isinstance(version, int) and version > FORMAT:
        return f"format {version!s:.80} is newer than this blurvid knows; upgrade blurvid"
    if version != FORMAT:
        return "it has no known format"
    name, model, files = info.get("name"), info.get("model"), info.get("files")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        return "it has no name"
    if not isinstance(model, str) or model not in TRAINED:
        return f"its model is {model!r:.80}; there are {', '.join(TRAINED)}"
    parts = PARTS.get(model, (model,))
    if not isinstance(files, dict) or set(files) != set(parts):
        return f"the {model} model has the files {', '.join(parts)}"
    for part, entry in files.items():
        problem = _entry_problem(entry)
        if problem is not None:
            return f"{part}: {problem}"
    return None


def _entry_problem(entry: object) -> str | None:
    """First thing that is wrong with the entry of a file."""
    if not isinstance(entry, dict):
        return "the entry is not an object"
    file, digest, size = entry.get("file"), entry.get("sha256"), entry.get("bytes")
    # no separator, drive or leading dot: the name can only mean a file of this directory
    if not isinstance(file, str) or not re.fullmatch(r"\w[\w.-]*\.safetensors", file):
        return f"{file!r:.80} is not the plain name of a safetensors file"
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        return "sha256 is missing or malformed"
    if type(size) is not int or not 0 < size <= MAX_FILE_BYTES:
        return "bytes is missing or out of range"
    return None


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raise WeightsError when the file that begins with `head` is a Git LFS pointer."""
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the file itself; run 'git lfs pull' in its "
            "repository"
        )


def read_file(path: Path, most: int, lacking: str) -> bytes:
    """Contents of a file, or one byte more than are believed.

    Args:
        path: the file.
        most: bytes that are believed.
        lacking: what is said where there is none.

    Raises:
        WeightsError: it is missing, cannot be read, or is a Git LFS pointer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise WeightsError(lacking) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    refuse_pointer(path, data)
    return data
