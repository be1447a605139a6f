"""Weight sets from elsewhere. The only module that uses the network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from blurvid.errors import WeightsError
from blurvid.weights.describe import (
    MAX_SET_BYTES,
    NAME,
    SET_FILE,
    WeightSet,
    check_part,
    described,
)
from blurvid.weights.sets import find, sets_dir
from blurvid.weights.store import assembled, install

MAX_BYTES = 200 * 10**6
"""Largest download, and largest contents of an archive."""
TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def fetch(
    url: str,
    name: str | None = None,
    *,
    sha256: str | None = None,
    overwrite: bool = False,
) -> WeightSet:
    """Get a weight set and keep it in the cache.

    The model is loaded once, every file compared with its SHA-256 in `set.json`, before the set is
    put in its place.

    Args:
        url: https or file address of a zip archive with one weight set in it.
        name: name in the cache; None keeps the name that the set has.
        sha256: SHA-256 that the archive must have.
        overwrite: replace a cached set of that name.

    Returns:
        The set in the cache.

    Raises:
        WeightsError: the address, the download or the set is not as it must be.
        OutputError: the set exists already or the cache cannot be written.
    """
    if name is not None and not NAME.fullmatch(name):
        raise WeightsError(f"{name!r} cannot be the name of a set; use letters, digits, . _ and -")
    data = _download(url, MAX_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.strip().lower():
        raise WeightsError(f"{url} has the SHA-256 {digest}, not the one asked for; not kept")
    archive = _Archive(url, data)
    path = PurePosixPath(urllib.parse.urlsplit(url).path)
    said = described(url, archive.read(SET_FILE, MAX_SET_BYTES))
    found = WeightSet(path=Path(path.name), origin="cache", **said)
    kept = name or found.name
    if not NAME.fullmatch(kept):
        raise WeightsError(f"{url}: the set needs another name than {kept!r}; give one")
    files = found.info["files"]
    if sum(entry["bytes"] for entry in files.values()) > MAX_BYTES:
        raise WeightsError(f"{url}: the set has more than the {MAX_BYTES} bytes allowed")
    contents = {part: archive.read(e["file"], e["bytes"]) for part, e in files.items()}
    for part, content in contents.items():
        check_part(found, part, content)
    assembled(found, contents.__getitem__)
    install(sets_dir() / kept, found.info | {"name": kept}, contents, overwrite=overwrite)
    return find(kept)


def _check_address(url: str) -> None:
    """Allow https, files of this machine, and plain http within it."""
    try:
        scheme, host = urllib.parse.urlsplit(url).scheme, urllib.parse.urlsplit(url).hostname
    except ValueError:
        raise WeightsError(f"{url} is not an address") from None
    if scheme == "file" and host in (None, "", "localhost"):
        return
    if (scheme == "https" and host) or (scheme == "http" and host in LOOPBACK):
        return
    raise WeightsError(f"weights are fetched from https or file addresses, not from {url}")


def _download(url: str, limit: int) -> bytes:
    """Get what is at an address, at most so many bytes."""
    _check_address(url)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            _check_address(response.url)  # where it was led to
            data: bytes = response.read(limit + 1)
            # a connection that breaks off early ends like a complete one, but for the count
            missing = 0 if len(data) > limit else getattr(response, "length", 0)
    except urllib.error.HTTPError as error:
        error.close()
        raise WeightsError(f"{url} cannot be fetched: the server says {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"{url} cannot be fetched: {reason}") from None
    if missing:
        raise WeightsError(f"{url} cannot be fetched: incomplete, {missing} bytes are missing")
    if len(data) > limit:
        raise WeightsError(f"{url} is larger than the {limit} bytes allowed; not kept")
    return data


class _Archive:
    """A zip archive with one weight set in it."""

    def __init__(self, url: str, data: bytes) -> None:
        self.url = url
        try:
            self.archive = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile:
            raise WeightsError(f"{url} is not a zip archive") from None
        self.names = self.archive.namelist()
        roots = [path.parent for path in map(PurePosixPath, self.names) if path.name == SET_FILE]
        if len(roots) != 1:
            raise WeightsError(f"{url} holds {len(roots)} weight sets instead of one")
        self.root = roots[0]

    def read(self, name: str, limit: int) -> bytes:
        """A file of the set, or one byte more than the limit."""
        if str(self.root / name) not in self.names:
            raise WeightsError(f"{self.url} lacks {name}")
        try:
            with self.archive.open(str(self.root / name)) as file:
                return file.read(limit + 1)
        except Exception as error:  # of any kind: libraries raise a dozen
            raise WeightsError(f"{self.url} is a damaged archive: {error}") from None
