"""Sharp photos held in memory, blurred by simulated motion on the device of the training."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError
from blurvid.lab.data.clips import find_stills
from blurvid.lab.data.windows import load_photo
from blurvid.media import is_photo, read_photo, reason

_DAMAGED = (ValueError, OverflowError, EOFError, RecursionError)
"""What damaged archives raise besides."""


def read_stills(sources: Sequence[Path]) -> Iterator[Tensor]:
    """Read photos from files, folders (searched through) and tar archives.

    Windows written by `blurvid synth` are left out; one unreadable photo is an error, so that
    nothing is trained on less than was meant.

    Yields:
        Each photo, (3, H, W) uint8 RGB.

    Raises:
        InputError: a source that is missing or unreadable.
    """
    for source in sources:
        if source.suffix == ".tar" and not source.is_dir():
            yield from _read_tar(source)
            continue
        for still in find_stills([source]):
            yield _to_bytes(load_photo(still.path))


def _read_tar(source: Path) -> Iterator[Tensor]:
    """Photos of an archive that is not packed: its files are as long as they say."""
    try:
        size = source.stat().st_size
        with tarfile.open(source, "r:") as archive:
            begun = -1
            for member in archive:
                # a size below zero would lead back to a file that was read before
                if member.offset <= begun or not 0 <= member.size <= size:
                    raise tarfile.ReadError("a file in it does not lie within it")
                begun = member.offset
                if not member.isfile() or member.issparse() or not is_photo(Path(member.name)):
                    continue
                file = archive.extractfile(member)
                if file is not None:
                    photo = read_photo(io.BytesIO(file.read()), name=f"{source}:{member.name}")
                    yield _to_bytes(photo.pixels)
    except (OSError, tarfile.TarError, *_DAMAGED) as error:
        raise InputError(f"{source}: cannot read this archive ({reason(error)})") from error


def _to_bytes(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().to(torch.uint8)


class StillPool:
    """Photos in memory, from which layers for the simulation are cut at random.

    Args:
        photos: (3, H, W) uint8 RGB each, of any size.
        device: where the photos are kept and blurred.

    Raises:
        InputError: no photos.
    """

    def __init__(self, photos: Sequence[Tensor], device: torch.device) -> None:
        if not photos:
            raise InputError("no photos to train on")
        self.device = device
        self.sizes = [(photo.shape[1], photo.shape[2]) for photo in photos]
        # One flat tensor, so that all crops of a batch are one indexing operation.
        self.pixels = torch.cat([photo.flatten() for photo in photos]).to(device)
        self.shapes = torch.tensor(self.sizes, device=device)
        ends = torch.tensor([photo.numel() for photo in photos]).cumsum(0)
        self.starts = F.pad(ends, (1, 0))[:-1].to(device)

    def __len__(self) -> int:
        return len(self.sizes)

    def usable(self, side: int) -> list[int]:
        """Numbers of the photos from which a square of `side` px can be cut."""
        return [i for i, size in enumerate(self.sizes) if min(size) >= side]

    def cut(self, photos: Tensor, side: int, draws: Tensor) -> Tensor:
        """Cut random squares, turned by a multiple of 90 degrees and maybe mirrored.

        Args:
            photos: numbers of the photos, (N,).
            side: of the squares [px].
            draws: four numbers in [0, 1) for each: top, left, turn, mirror; (N, 4).

        Returns:
            (N, 3, side, side) uint8 RGB.
        """
        shape = self.shapes[photos]
        top, left = ((shape - side + 1) * draws[:, :2]).long().unbind(1)
        at = torch.arange(side, device=self.device)
        row, column = at[:, None].expand(side, side), at.expand(side, side)
        rows, columns = [], []
        for turn in range(4):
            rows += [grid.rot90(turn) for grid in (row, row.flip(1))]
            columns += [grid.rot90(turn) for grid in (column, column.flip(1))]
        way = (draws[:, 2] * 4).long() * 2 + (draws[:, 3] < 0.5).long()
        height, width = (n[:, None, None] for n in shape.unbind(1))
        row = torch.stack(rows)[way] + top[:, None, None]
        column = torch.stack(columns)[way] + left[:, None, None]
        index = self.starts[photos][:, None, None] + row * width + column
        planes = torch.arange(3, device=self.device)[:, None, None, None] * height * width
        return self.pixels[index + planes].transpose(0, 1)

    def draw(
        self,
        batch: int,
        size: int,
        source_scale: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        """Draw random crops as they are.

        Args:
            batch: B.
            size: S [px].
            source_scale: photo pixels per pixel of the crop, drawn between these.
            generator: source of randomness, on the pool's device.

        Returns:
            (B, 3, S, S), RGB in [0, 1].

        Raises:
            InputError: every photo is too small.
        """
        low, high = source_scale
        draw = torch.rand(1, generator=generator, device=self.device).item()
        least = math.ceil(size * min(low, 1.0))
        side = math.ceil(size * (low + (high - low) * draw))
        photos = self.usable(side)
        while not photos and side > least:
            side = max(least, int(side * 0.9))
            photos = self.usable(side)
        if not photos:
            raise InputError(f"every photo is smaller than {least} px, which crops of {size} need")
        draws = torch.rand(batch, 5, generator=generator, device=self.device)
        chosen = (draws[:, 0] * len(photos)).long()
        numbers = torch.tensor(photos, device=self.device)[chosen]
        sources = self.cut(numbers, side, draws[:, 1:]).float().div_(255)
        crops = F.interpolate(
            sources, size=(size, size), mode="bicubic", antialias=True, align_corners=False
        )
        return crops.clamp_(0, 1)
