"""Weight sets from elsewhere. The only module that uses the network."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO

from blurvid.errors import WeightsError
from blurvid.weights.describe import MAX_SET_BYTES, NAME, SET_FILE, WeightSet, parse_info, read_set
from blurvid.weights.sets import find, sets_dir
from blurvid.weights.store import install, load, write_info

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

    Every file is compared with its SHA-256 in `set.json`, and the model is loaded once, before
    the set is put in its place.

    Args:
        url: https or file address of a zip archive with one weight set in it, or of a `set.json`
            that has its files beside it.
        name: name in the cache; None keeps the name that the set has.
        sha256: SHA-256 that the file at `url` must have.
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
    read = _reader(url, data)
    info = parse_info(url, read(SET_FILE, MAX_SET_BYTES))
    info["name"] = kept = name or info["name"]
    if not NAME.fullmatch(kept):
        raise WeightsError(f"{url}: the set needs another name than {kept!r}; give one")
    if sum(entry["bytes"] for entry in info["files"].values()) > MAX_BYTES:
        raise WeightsError(f"{url}: the set has more than the {MAX_BYTES} bytes allowed")

    def write(staging: Path) -> None:
        for entry in info["files"].values():
            content = read(entry["file"], entry["bytes"])
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise WeightsError(
                    f"{entry['file']} at {url} does not have the SHA-256 in {SET_FILE}; "
                    "it is damaged or was changed, nothing was kept"
                )
            (staging / entry["file"]).write_bytes(content)
        write_info(staging, info)
        try:
            load(read_set(staging, "cache"))
        except WeightsError as error:  # the staging directory is gone when it is read
            raise WeightsError(str(error).replace(str(staging), url)) from None

    install(sets_dir() / kept, write, overwrite=overwrite)
    return find(kept)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses that could have been asked for themselves."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
            # whatever answers on the network must not send us to a service of this machine
            if _is_loopback(newurl) and not _is_loopback(req.full_url):
                raise WeightsError(f"{req.full_url} redirects to {newurl}, which is not followed")
        except WeightsError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_loopback(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in LOOPBACK


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
    # a proxy has its own idea of what the loopback address is
    proxies = urllib.request.ProxyHandler({} if _is_loopback(url) else None)
    opener = urllib.request.build_opener(proxies, _Redirects)
    try:
        with opener.open(url, timeout=TIMEOUT) as response:
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


def _reader(url: str, data: bytes) -> Callable[[str, int], bytes]:
    """What gives files of a set: of a zip archive, or a set.json with files beside it.

    It takes a name and the most bytes that are wanted, and may give one more.
    """
    if data.lstrip().startswith(b"{"):

        def beside(name: str, limit: int) -> bytes:
            address = urllib.parse.urljoin(url, urllib.parse.quote(name))
            return data if name == SET_FILE else _download(address, limit)

        return beside
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise WeightsError(f"{url} is neither a zip archive nor a {SET_FILE}") from None
    names = archive.namelist()
    roots = [path.parent for path in map(PurePosixPath, names) if path.name == SET_FILE]
    if len(roots) != 1:
        raise WeightsError(f"{url} holds {len(roots)} weight sets instead of one")

    def within(name: str, limit: int) -> bytes:
        if str(roots[0] / name) not in names:
            raise WeightsError(f"{url} lacks {name}")
        try:
            with archive.open(str(roots[0] / name)) as file:
                return file.read(limit + 1)
        except Exception as error:  # of any kind: libraries raise a dozen
            raise WeightsError(f"{url} is a damaged archive: {error}") from None

    return within
