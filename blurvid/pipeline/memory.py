"""How a photo of any size fits into the memory there is."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from blurvid import runtime
from blurvid.config import FAST, FRAMES
from blurvid.errors import DeviceError
from blurvid.models import SequenceModel

SIDES = (2560, 1280, 640)
"""Sides of tiles [px], to be tried one after the other, less what the model's multiple leaves."""
FRAME_SIZE = 4 * 3
"""Bytes of a pixel of a frame."""

PIXELS_AT_ONCE = 1 << 16
"""Pixels of frames that are handled in one piece where more would take memory of its own."""


@dataclass(frozen=True)
class Plan:
    """How a model sees one photo."""

    side: int | None = None
    """Side of the tiles [px]; None sees the whole photo."""
    on_disk: bool = False
    """Whether the frames lie in a file, since there is no room for them."""
    near: bool = False
    """Whether the frames stay on the model's device until all are there, where that is not the
    host: each is seen by others, and all come back in one transfer."""
    memory: int = 0
    """What is taken besides the frames, predicted [bytes]."""


def plan(
    model: SequenceModel,
    height: int,
    width: int,
    feature_size: int,
    room: int,
    *,
    host: int | None = None,
    whole: bool = False,
) -> Plan:
    """Choose how a model sees a photo: as much of it at a time as there is room for.

    What gives exact results comes first: the whole photo, its frames in memory or on disk; tiles
    come last, whose statistics are their own.

    Args:
        model: the model.
        height: a multiple of `model.size_multiple` [px].
        width: the same.
        feature_size: bytes of one value of the features.
        room: memory that may be taken [bytes], for the frames too where `host` is None.
        host: room for the frames, where they do not lie on the model's device.
        whole: whether the model has to see all of the photo.

    Raises:
        DeviceError: there is no room for even the smallest tiles.
    """
    pixels = height * width
    frames, image = model.count * FRAME_SIZE * pixels, FRAME_SIZE * pixels
    least = 0
    for side in (None,) if whole else (None, *SIDES):
        if side is not None:
            side -= side % model.size_multiple
            if side >= max(height, width):
                continue
        rows, columns = (min(side or length, length) for length in (height, width))
        tile = 0 if side is None else (model.count + 1) * FRAME_SIZE * rows * columns
        for on_disk in (False, True):
            stored = 0 if on_disk else frames
            if host is not None and stored > host:
                continue
            # Elsewhere, the frames that a network sees have to be brought to it.
            left = room - image - tile - (stored if host is None else 2 * image)
            need = model.memory(rows, columns, feature_size)
            if need <= left:
                near = host is not None and not on_disk and need + frames <= left
                return Plan(side, on_disk, near, memory=need + tile + image)
            least = need + tile + image
    raise DeviceError(
        f"{width} x {height} pixels take {gigabytes(least)} of memory at least, but only "
        f"{gigabytes(room)} may be taken; allow more, "
        f"{f'take the {FAST} model (--fast), ' if whole else ''}"
        "or take a part of the photo (--region)"
    )


def _scratch() -> str:
    """Folder for large temporary files: the one the user names, or one that is not in memory."""
    large = "/var/tmp"  # where systems keep /tmp in memory, this is not
    if any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")):
        return tempfile.gettempdir()
    return large if os.access(large, os.W_OK | os.X_OK) else tempfile.gettempdir()


def in_pieces(frames: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut frames and their photo into strips of `PIXELS_AT_ONCE`, or of one row.

    Args:
        frames: (T, C, H, W).
        y: (C, H, W).

    Yields:
        Views of both, (T, C, rows, W) and (C, rows, W).
    """
    step = max(1, PIXELS_AT_ONCE // y.shape[-1])
    for top in range(0, y.shape[-2], step):
        yield frames[..., top : top + step, :], y[..., top : top + step, :]


def gigabytes(size: int) -> str:
    """An amount of memory for messages."""
    size = max(size, 0)
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


class OnDisk(Tensor):
    """Frames in a file, with no more of them in memory than is being worked on.

    What is read and written stays in memory until the next part is asked for by an index. (The
    pages of a file that is mapped count as the program's, although the system takes them back
    when it needs them; here they are handed back.)
    """

    # All else is that of plain tensors, and gives plain tensors.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    file: mmap.mmap

    @classmethod
    def of(cls, values: Tensor, file: mmap.mmap) -> OnDisk:
        """Values that lie in a mapped file."""
        found = values.as_subclass(cls)
        found.file = file
        return found

    def __getitem__(self, index: Any) -> Tensor:
        self._let_go()
        found = super().__getitem__(index)
        return OnDisk.of(found, self.file) if found.ndim == self.ndim else found

    def __setitem__(self, index: Any, values: Any) -> None:
        super().__setitem__(index, values)
        self._let_go()

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def _let_go(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


def room_for(height: int, width: int, count: int = FRAMES, most: int | None = None) -> Tensor:
    """Make room for frames, on disk where there is too little memory.

    Args:
        height: H.
        width: W.
        count: T.
        most: most memory that the process may take [bytes].

    Returns:
        (T, 3, H, W) float32, on the CPU.
    """
    if count * FRAME_SIZE * height * width > runtime.room(torch.device("cpu"), most):
        return frames_on_disk(height, width, count)
    return torch.empty(count, 3, height, width)


def frames_on_disk(height: int, width: int, count: int = FRAMES) -> Tensor:
    """Make room for frames in a temporary file, which goes when the tensor does.

    Args:
        height: H.
        width: W.
        count: T.

    Returns:
        (T, 3, H, W) float32, on the CPU, of which only what is at hand lies in memory.

    Raises:
        DeviceError: there is no room on the disk either.
    """
    size = count * FRAME_SIZE * height * width
    folder = _scratch()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # all of it now, rather than a crash in the middle
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise DeviceError(
            f"no memory for {gigabytes(size)} of frames, nor room in {folder}: {error.strerror}"
        ) from error
    values = torch.frombuffer(mapped, dtype=torch.float32)
    return OnDisk.of(values.view(count, 3, height, width), mapped)
