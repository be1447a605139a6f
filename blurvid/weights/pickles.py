"""Checkpoints written by PyTorch, old ones included, read without running anything in them.

`torch.load(weights_only=True)` does the reading. It knows only the pickle opcodes that
today's Python writes. Python 2 wrote integers beyond 32 bits, such as the `id()` that torch 0.3
used as keys of optimizer state, as the text opcode INT, and long byte strings as BINSTRING;
these are respelled first.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import BinaryIO

import torch

from blurvid.errors import WeightsError
from blurvid.weights.sets import refuse_pointer

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number with which a checkpoint begins that is not a zip archive."""
LEGACY_PICKLES = 5
"""Magic number, protocol, system, payload, storage keys; then come the raw numbers."""
MAX_BYTES = 2**30


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
        source = _respelled(file) if _is_legacy(file) else file
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle can raise anything
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is not None:
            raise WeightsError(
                f"{path} asks for {asked[1][:80]}, which weights do not need; nothing of it was "
                "run, do not trust the file"
            ) from None
        raise WeightsError(f"{path} is damaged or incomplete; download it again") from error


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
