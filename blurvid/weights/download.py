"""Weight sets from elsewhere. The only module that uses the network."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from blurvid.errors import BlurvidError, WeightsError
from blurvid.weights.describe import MAX_SET_BYTES, NAME, SET_FILE, WeightSet, parse_info, read_set
from blurvid.weights.sets import find, sets_dir
from blurvid.weights.store import install, load, write_info

MAX_BYTES = 200 * 10**6
"""Largest download, and largest contents of an archive."""
MAX_MEMBERS = 1000
"""Most files believed in an archive."""
TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""
CHUNK = 2**18
LOOPBACK = ("127.0.0.1", "localhost", "::1")

TAR_RIM = 1536
"""Bytes of a tar archive around each file in it."""
PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
"""How packed tar archives begin, and what unpacks them."""
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    OverflowError, RuntimeError, struct.error,  # of RuntimeError there are several kinds
)  # fmt: skip
"""What damaged archives raise."""

Reader = Callable[[str, int], bytes]
"""Hands out the contents of a file of a set: its name, the most bytes wanted."""


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
        url: https or file address of a zip or tar archive with one weight set in it, or of a
            `set.json` that has its files beside it.
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
    with tempfile.TemporaryFile() as file:
        digest = _download(url, file, MAX_BYTES)
        if sha256 is not None and digest != sha256.strip().lower():
            raise WeightsError(f"{url} has the SHA-256 {digest}, not the one asked for; not kept")
        file.seek(0)
        with _opened(url, file) as read:
            info = parse_info(url, read(SET_FILE, MAX_SET_BYTES))
            kept = name or info["name"]
            if not NAME.fullmatch(kept):
                raise WeightsError(f"{url}: the set needs another name than {kept!r}; give one")
            info["name"] = kept
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


def _download(url: str, file: BinaryIO, limit: int) -> str:
    """Copy what is at an address into a file; returns its SHA-256."""
    _check_address(url)
    digest = hashlib.sha256()
    size = 0
    try:
        with _response(url) as response:
            while chunk := response.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise WeightsError(f"{url} is larger than the {limit} bytes allowed; not kept")
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        raise WeightsError(f"{url} cannot be fetched: the server says {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise WeightsError(f"{url} cannot be fetched: {reason}") from None
    return digest.hexdigest()


@contextmanager
def _response(url: str) -> Iterator[BinaryIO]:
    if urllib.parse.urlsplit(url).scheme == "file":
        with Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)).open("rb") as file:
            yield file
        return
    # a proxy has its own idea of what the loopback address is
    proxies = urllib.request.ProxyHandler({} if _is_loopback(url) else None)
    with urllib.request.build_opener(proxies, _Redirects).open(url, timeout=TIMEOUT) as response:
        yield response
        # a connection that breaks off early ends like a complete one, but for the count
        if response.length:
            raise HTTPException(f"incomplete, {response.length} bytes are missing")


@contextmanager
def _opened(url: str, file: BinaryIO) -> Iterator[Reader]:
    """Open what was downloaded: a zip or tar archive, or a set.json with files beside it."""
    head = file.read(16).lstrip()
    file.seek(0)
    try:
        if head.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                yield _zip_reader(url, archive)
        elif head.startswith(b"{"):
            yield _neighbour_reader(url, file.read(MAX_SET_BYTES + 1))
        else:
            with (
                _unpacked(url, file) as plain,
                tarfile.open(fileobj=plain, mode="r:") as archive,
            ):
                yield _tar_reader(url, archive)
    except BlurvidError:
        raise
    except tarfile.ReadError:
        raise WeightsError(f"{url} is neither a zip or tar archive nor a {SET_FILE}") from None
    except DAMAGED as error:
        raise WeightsError(f"{url} is a damaged archive: {error}") from None


@contextmanager
def _unpacked(url: str, file: BinaryIO) -> Iterator[BinaryIO]:
    """A tar archive as it was before it was packed, which may not grow beyond a weight set."""
    head = file.read(6)
    file.seek(0)
    opened = next((opener for mark, opener in PACKED.items() if head.startswith(mark)), None)
    if opened is None:
        yield file
        return
    with tempfile.TemporaryFile() as plain, opened(file) as packed:
        size = 0
        while chunk := packed.read(CHUNK):
            size += len(chunk)
            _check_contents(url, 0, size - MAX_MEMBERS * TAR_RIM)
            plain.write(chunk)
        plain.seek(0)
        yield plain


def _neighbour_reader(url: str, description: bytes) -> Reader:
    def read(name: str, limit: int) -> bytes:
        if name == SET_FILE:
            return description
        buffer = io.BytesIO()
        _download(urllib.parse.urljoin(url, urllib.parse.quote(name)), buffer, limit)
        return buffer.getvalue()

    return read


def _zip_reader(url: str, archive: zipfile.ZipFile) -> Reader:
    members = [info for info in archive.infolist() if not info.is_dir()]
    _check_contents(url, len(members), sum(info.file_size for info in members))
    root = _root(url, [info.filename for info in members])
    if any(info.flag_bits & 1 for info in members):
        raise WeightsError(f"{url} is encrypted; nothing was kept")

    def read(name: str, limit: int) -> bytes:
        try:
            with archive.open(str(root / name)) as member:
                # never more than promised, whatever the archive's directory says
                return member.read(limit + 1)
        except KeyError:
            raise WeightsError(f"{url} lacks {name}") from None

    return read


def _tar_reader(url: str, archive: tarfile.TarFile) -> Reader:
    members: dict[str, tarfile.TarInfo] = {}
    size = 0
    begun = -1
    for member in archive:
        # a size below zero would lead back to a file that was read before
        if member.offset <= begun or member.size < 0 or member.issparse():
            raise tarfile.ReadError("a file in it does not lie within it")
        begun = member.offset
        size += member.size
        # counted while reading on, because a compressed archive has no directory to look at
        _check_contents(url, len(members), size)
        if member.isfile():
            members[str(PurePosixPath(member.name))] = member
    root = _root(url, list(members))

    def read(name: str, limit: int) -> bytes:
        member = members.get(str(root / name))
        content = None if member is None else archive.extractfile(member)
        if content is None:
            raise WeightsError(f"{url} lacks {name}")
        with content:
            return content.read(limit + 1)

    return read


def _check_contents(url: str, members: int, size: int) -> None:
    if members > MAX_MEMBERS or size > MAX_BYTES:
        raise WeightsError(f"{url} unpacks to more than a weight set can hold; not kept")


def _root(url: str, names: list[str]) -> PurePosixPath:
    """Folder of the one set.json in an archive."""
    roots = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == SET_FILE]
    if len(roots) != 1:
        raise WeightsError(f"{url} holds {len(roots)} weight sets instead of one")
    return roots[0]
