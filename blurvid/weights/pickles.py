"""Checkpoints written by PyTorch, old ones included, read without running anything in them."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch

from blurvid.errors import DeviceError, WeightsError
from blurvid.runtime import memory_guard
from blurvid.weights.sets import read_file

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number with which a checkpoint begins that is not a zip archive."""
MAX_BYTES = 2**30
NEEDED = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)|torch\.Size"
    r"|torch\.(cuda\.)?[A-Za-z0-9]+Storage|torch\.storage\.[A-Za-z]+Storage"
)
"""Classes and functions of tensors and plain values, by their names in a pickle."""


def read_checkpoint(path: Path) -> tuple[object, str]:
    """Read a `.pth` file on the CPU; what it holds, and its SHA-256.

    Raises:
        WeightsError: it is no checkpoint, is damaged, or asks for code to be run.
    """
    data = read_file(path, MAX_BYTES, f"{path} does not exist")
    if not data:
        raise WeightsError(f"{path} is empty; download it again")
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise WeightsError(f"{path} is a web page, not a checkpoint; download the file itself")
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{path} is larger than any checkpoint that can be imported")
    if not data.startswith((b"PK", LEGACY_MAGIC)):
        raise WeightsError(f"{path} is not a PyTorch checkpoint")
    try:
        with memory_guard(torch.device("cpu")):
            return load_plain(io.BytesIO(data)), hashlib.sha256(data).hexdigest()
    except DeviceError:
        raise
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise WeightsError(
            f"{path} is damaged, or asks for what weights do not need; nothing of it was run, "
            "download it again"
        ) from error


def load_plain(file: BinaryIO) -> object:
    """Load tensors and plain values from a file that torch wrote.

    `torch.load(weights_only=True)` knows only the pickle opcodes that today's Python writes, not
    those of Python 2, which torch 0.3 was run by. So a file without an archive around it, as
    torch wrote until 1.5, is read by Python's own unpickler, which gets hold of nothing but
    `NEEDED`.

    Args:
        file: as a whole, at its beginning.

    Raises:
        UnpicklingError: it asks for something else.
        Exception: whatever torch raises on damaged files.
    """
    legacy = file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, and of Python about strings in old pickles
        if not legacy:
            return torch.load(file, map_location="cpu", weights_only=True)
        # From memory, since torch would look for a still older kind, a tar archive, in a file.
        return torch.load(
            io.BytesIO(file.read()),
            map_location="cpu",
            weights_only=False,
            pickle_module=_Plain,
        )


class _Plain:
    """What torch is given for the module `pickle`."""

    class Unpickler(pickle.Unpickler):
        """Gets hold of no function or class but those that tensors and plain values need."""

        def find_class(self, module: str, name: str) -> Any:
            if NEEDED.fullmatch(f"{module}.{name}") is None:
                raise pickle.UnpicklingError(f"asks for {module}.{name}"[:80])
            return super().find_class(module, name)

    @classmethod
    def load(cls, file: BinaryIO, **options: str) -> object:
        """Load one object."""
        return cls.Unpickler(file, **options).load()  # type: ignore[arg-type]
