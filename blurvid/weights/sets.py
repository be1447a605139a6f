"""Weight sets on disk: where they are looked for, and whether they are what they say."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs

from blurvid.config import MODELS, STAGES, TRAINED
from blurvid.errors import WeightsError
from blurvid.weights.leftovers import bring_back

FORMAT = 1
"""Version of the layout of a weight set that this code reads and writes."""
SET_FILE = "set.json"
SCORE = "seven_frame_psnr"
"""The score [dB] by which `auto` compares models."""
MIDDLE_SCORE = "middle_gain"
"""The score [dB] by which `auto` compares what gives the middle frame: what it gains over the
blurry photo, on average over kinds of blur (`blurvid eval --robustness`)."""
PARTS = {"cascade": STAGES, "direct": ("direct",), "bdirnet": ("bdirnet",)}
"""Parts of each model, a file each."""
MAX_SCORE = 1e6
"""Scores [dB] beyond, NaN and infinity are no scores."""
MAX_SET_BYTES = 2**20
MAX_FILE_BYTES = 2**30
MAX_CROP = 2**20
"""Sides of training crops [px] beyond are not believed."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names under which a set can be kept in the cache."""

LFS_POINTER = b"version https://git-lfs"

Origin = Literal["path", "env", "cache", "released"]


@dataclass(frozen=True)
class WeightSet:
    """A weight set whose `set.json` has been read; its files have not."""

    name: str
    model: str
    """One of `config.TRAINED`."""
    path: Path
    """The directory."""
    info: dict[str, Any] = field(hash=False, repr=False)
    """What `set.json` says, unknown keys included."""
    score: float | None
    """PSNR of the seven frames [dB] in the released evaluation; None when not known."""
    middle_score: float | None
    """Gain of the middle frame [dB], mean over kinds of blur; None when not known."""
    origin: Origin
    """How it was found."""

    @property
    def crop(self) -> int | None:
        """Side of the crops that its training ended with [px]; None where it does not tell."""
        recipe = self.info.get("recipe")
        phases = recipe.get("phases") if isinstance(recipe, dict) else None
        last = phases[-1] if isinstance(phases, list) and phases else recipe
        crop = last.get("crop") if isinstance(last, dict) else None
        return crop if type(crop) is int and 0 < crop <= MAX_CROP else None

    def file(self, part: str) -> Path:
        """Path of the file that holds a part."""
        return self.path / str(self.info["files"][part]["file"])


def cache_dir() -> Path:
    """Directory that holds the cache: `BLURVID_HOME`, else the platform's cache directory.

    Sets are in its folder `weights`. The directory need not exist.
    """
    home = os.environ.get("BLURVID_HOME")
    if home:
        return Path(home).expanduser()
    return platformdirs.user_cache_path("blurvid", appauthor=False)


def sets_dir() -> Path:
    """Directory of the cached sets."""
    return cache_dir() / "weights"


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
    released one; `auto` compares the two models' own sets and takes the better.

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
            f"no {what} in {sets_dir()} or {released_dir()}{_known()}; name a set or its "
            "directory, or get one with 'blurvid weights fetch' or 'blurvid weights import'"
        )
    # max() keeps the first of equals, and MODELS begins with the direct model
    return max(defaults, key=_rank)


def best_middle(own: WeightSet | None = None) -> WeightSet | None:
    """Find the set that gives the best middle frame.

    Args:
        own: a cascade's, which keeps its own network unless its score is known and lower.

    Returns:
        The set; None for that of the cascade itself.

    Raises:
        WeightsError: a default set is damaged, or none gives a middle frame.
    """
    if own is not None and own.middle_score is None:
        return None
    found = [entry for entry in map(default, TRAINED) if entry is not None]
    best = max(found, key=lambda entry: _or_least(entry.middle_score), default=None)
    if own is not None:
        better = best is not None and _or_least(best.middle_score) > _or_least(own.middle_score)
        return best if better else None
    if best is None:
        raise WeightsError(f"no weights in {sets_dir()} or {released_dir()}{_known()}")
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


def verify(weight_set: WeightSet) -> None:
    """Compare every file of a set with the size and SHA-256 in its `set.json`.

    Raises:
        WeightsError: a file is missing, is a Git LFS pointer, or differs.
    """
    for part, entry in weight_set.info["files"].items():
        path = weight_set.file(part)
        check_size(path, entry["bytes"])
        check_digest(path, sha256_of(path), entry["sha256"])


def read_set(directory: Path, origin: Origin) -> WeightSet:
    """Read and check a `set.json`.

    Raises:
        WeightsError: it is missing, unreadable, or does not describe a weight set.
    """
    path = directory / SET_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SET_BYTES + 1)
    except FileNotFoundError:
        raise WeightsError(f"{directory} is not a weight set: it has no {SET_FILE}") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    refuse_pointer(path, data)
    return WeightSet(path=directory, origin=origin, **_described(path, data))


def parse_info(path: Path | str, data: bytes) -> dict[str, Any]:
    """Parse and check the contents of a `set.json`; `path` is for messages."""
    info: dict[str, Any] = _described(path, data)["info"]
    return info


def _described(path: Path | str, data: bytes) -> dict[str, Any]:
    """Fields of the `WeightSet` that a `set.json` describes."""
    if len(data) > MAX_SET_BYTES:
        raise WeightsError(f"{path} is too large to be the description of a weight set")
    try:
        info = json.loads(data)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} is not valid JSON; get the weight set again") from None
    problem = _problem(info)
    if problem is not None:
        raise WeightsError(f"{path} does not describe a weight set: {problem}")
    return {
        "name": info["name"],
        "model": info["model"],
        "info": info,
        "score": _score(info, SCORE),
        "middle_score": _score(info, MIDDLE_SCORE),
    }


def _score(info: dict[str, Any], name: str) -> float | None:
    """A score of a set, where it is a number."""
    scores = info.get("scores")
    score = scores.get(name) if isinstance(scores, dict) else None
    # whole numbers in JSON may be too large for a float; comparing them is safe
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    return float(score) if -MAX_SCORE < score < MAX_SCORE else None


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
    if not isinstance(model, str) or model not in PARTS:
        return f"its model is {model!r:.80}; there are {', '.join(TRAINED)}"
    if not isinstance(files, dict) or set(files) != set(PARTS[model]):
        return f"the {model} model has the files {', '.join(PARTS[model])}"
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
    if head.startswith(LFS_POINTER):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the file itself; run 'git lfs pull' in its "
            "repository"
        )


def check_size(path: Path, size: int) -> None:
    """Raise WeightsError unless the file is there and has the size it should have."""
    try:
        actual = path.stat().st_size
        with path.open("rb") as file:
            refuse_pointer(path, file.read(len(LFS_POINTER)))
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing; get the weight set again") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    if actual != size:
        raise WeightsError(
            f"{path} has {actual} bytes instead of {size}; it is incomplete or was changed, "
            "get the weight set again"
        )


def check_digest(path: Path, digest: str, expected: str) -> None:
    """Raise WeightsError unless the digests agree."""
    if digest != expected:
        raise WeightsError(
            f"{path} does not have the SHA-256 in {SET_FILE}; it is damaged or was changed, "
            "get the weight set again"
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in chunks."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None


def _referenced(reference: str | Path, origin: Literal["path", "env"]) -> WeightSet:
    """Find the set that a name or a directory refers to."""
    text = str(reference)
    path = Path(text).expanduser()
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
        f"weights {text!r}{source} are neither a directory nor a set in {sets_dir()} or "
        f"{released_dir()}{_known()}"
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
    bring_back(sets_dir())
    cached = sets_dir() / model
    if (cached / SET_FILE).is_file():
        shadow = read_set(cached, "cache")
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
    bring_back(sets_dir())
    yield sets_dir(), "cache"
    yield released_dir(), "released"


def _directories(root: Path) -> list[Path]:
    """Directories of sets below a root, by name; unfinished ones begin with a dot."""
    try:
        return sorted(path.parent for path in root.glob(f"[!.]*/{SET_FILE}"))
    except OSError:
        return []


def _known() -> str:
    names = [entry.name for entry in list_sets()]
    return f" (there are {', '.join(names)})" if names else " (there are no sets)"
