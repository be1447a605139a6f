"""Checkpoints written by PyTorch, old ones included, read without running anything in them.

`torch.load(weights_only=True)` does the reading, of files that ask for nothing but tensors and
plain values. It knows only the pickle opcodes that today's Python writes. Python 2 wrote integers
beyond 32 bits, such as the `id()` that torch 0.3 used as keys of optimizer state, as the text
opcode INT, and long byte strings as BINSTRING; these are respelled first.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch

from blurvid.errors import DeviceError, WeightsError
from blurvid.runtime import memory_guard
from blurvid.weights.describe import refuse_pointer

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number with which a checkpoint begins that is not a zip archive."""
LEGACY_PICKLES = 5
"""Magic number, protocol, system, payload, storage keys; then come the raw numbers."""
MAX_BYTES = 2**30
NEEDED = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.Size"
    r"|torch\.(cuda\.)?[A-Za-z0-9]+Storage|torch\.storage\.[A-Za-z]+Storage"
)
"""Classes and functions of tensors and plain values, by their names in a pickle."""
CALLS = frozenset(("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"))
"""Opcodes that get hold of functions or classes in other ways; torch writes none of them."""


def read_checkpoint(path: Path) -> object:
    """Read a `.pth` file on the CPU.

    Raises:
        WeightsError: it is no checkpoint, is damaged, or asks for code to be run.
    """
    try:
        with path.open("rb") as file:
            _check_kind(path, file)
            return _load(path, file)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_kind(path: Path, file: BinaryIO) -> None:
    """Refuse what is often found in the place of a checkpoint."""
    head = file.read(512)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    refuse_pointer(path, head)
    if not head:
        raise WeightsError(f"{path} is empty; download it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise WeightsError(f"{path} is a web page, not a checkpoint; download the file itself")
    if size > MAX_BYTES:
        raise WeightsError(f"{path} is larger than any checkpoint that can be imported")
    if not head.startswith((b"PK", LEGACY_MAGIC)):
        raise WeightsError(f"{path} is not a PyTorch checkpoint")


def _load(path: Path, file: BinaryIO) -> object:
    try:
        with memory_guard(torch.device("cpu")):
            return load_plain(file)
    except DeviceError:
        raise
    except UntrustedError as error:
        raise WeightsError(f"{path} {error}, do not trust the file") from None
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise WeightsError(f"{path} is damaged or incomplete; download it again") from error


class UntrustedError(Exception):
    """A checkpoint that asks for what tensors and plain values do not need."""


def load_plain(file: BinaryIO) -> object:
    """Load tensors and plain values from a file that torch wrote.

    `torch.load(weights_only=True)` allows more than they need: functions that take any amount of
    memory or time (`bytearray`, `torch.Tensor`, `codecs.encode`), and packed archives. So what a
    file asks for is looked at before torch sees it.

    Args:
        file: as a whole, at its beginning.

    Raises:
        UntrustedError: it asks for something else.
        Exception: whatever zipfile, pickletools or torch raise on damaged files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, and of Python about strings in old pickles
        if _is_legacy(file):
            source: BinaryIO = _respelled(file)
        else:
            _check_archive(file)
            source = file
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        payload = torch.load(source, map_location="cpu", weights_only=True)
    _check_sizes(payload, size)
    return payload


def _check_archive(file: BinaryIO) -> None:
    """Look at the pickles of a zip archive, and at what it unpacks to."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len({member.filename for member in members}) < len(members):
            raise UntrustedError("holds two files of one name")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UntrustedError("is packed, which checkpoints are not")
        for member in members:
            if member.filename.endswith(".pkl"):
                with archive.open(member) as pickled:
                    for opcode, argument, _ in pickletools.genops(pickled):
                        _check_opcode(opcode.name, argument)
    file.seek(0)


def _check_opcode(name: str, argument: object) -> None:
    """Refuse an opcode that gets hold of a function or class that tensors do not need."""
    if name == "GLOBAL":
        wanted = str(argument).replace(" ", ".")
        if NEEDED.fullmatch(wanted) is None:
            raise UntrustedError(
                f"asks for {wanted[:80]}, which weights do not need; nothing of it was run"
            )
    elif name in CALLS:
        raise UntrustedError(f"has the opcode {name}, not of weights; nothing of it was run")


def _check_sizes(payload: object, size: int) -> None:
    """Refuse tensors whose numbers cannot all have come from a file of `size` bytes."""
    pending, seen = [payload], set()
    while pending:
        value = pending.pop()
        if isinstance(value, torch.Tensor):
            if value.untyped_storage().nbytes() > size:
                raise UntrustedError("has tensors that are larger than it is")
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            pending += value.values() if isinstance(value, Mapping) else value


def _is_legacy(file: BinaryIO) -> bool:
    head = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    return head == LEGACY_MAGIC


def _respelled(file: BinaryIO) -> io.BytesIO:
    """Copy a legacy checkpoint with the opcodes of Python 2 spelled as today.

    Opcodes are read by `pickletools`, which never acts on them. References between objects are
    numbered, not offsets, so that a longer spelling breaks nothing.
    """
    copy = io.BytesIO()
    for _ in range(LEGACY_PICKLES):
        start = file.tell()
        edits: list[tuple[int, int, bytes]] = []
        for opcode, argument, position in pickletools.genops(file):
            _check_opcode(opcode.name, argument)
            if opcode.name in ("INT", "BINSTRING"):
                edits.append((position or 0, file.tell(), _modern(argument)))
        end = file.tell()
        file.seek(start)
        for begin, after, spelling in edits:
            copy.write(file.read(begin - file.tell()))
            copy.write(spelling)
            file.seek(after)
        copy.write(file.read(end - file.tell()))
    while chunk := file.read(2**22):
        copy.write(chunk)
    copy.seek(0)
    return copy


def _modern(value: object) -> bytes:
    """Protocol 2 opcodes, as Python 3 spells them, that push a bool, an int or a string."""
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int):
        digits = pickle.encode_long(value)
        return pickle.LONG1 + bytes([len(digits)]) + digits
    text = str(value).encode()
    return pickle.BINUNICODE + len(text).to_bytes(4, "little") + text
