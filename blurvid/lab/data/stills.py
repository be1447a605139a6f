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
        self.photos = [photo.to(device) for photo in photos]

    def __len__(self) -> int:
        return len(self.photos)

    def usable(self, side: int) -> list[int]:
        """Numbers of the photos from which a square of `side` px can be cut."""
        return [i for i, photo in enumerate(self.photos) if min(photo.shape[1:]) >= side]

    def cut(self, photos: Tensor, side: int, draws: Tensor) -> Tensor:
        """Cut random squares, turned by a multiple of 90 degrees and maybe mirrored.

        Args:
            photos: numbers of the photos, (N,).
            side: of the squares [px].
            draws: four numbers in [0, 1) for each: top, left, turn, mirror; (N, 4).

        Returns:
            (N, 3, side, side) uint8 RGB.
        """
        squares = []
        for number, (down, across, turn, mirror) in zip(
            photos.tolist(), draws.tolist(), strict=True
        ):
            photo = self.photos[number]
            top, left = (
                int((length - side + 1) * draw)
                for length, draw in zip(photo.shape[1:], (down, across), strict=True)
            )
            square = photo[:, top : top + side, left : left + side]
            square = square.flip(-1) if mirror < 0.5 else square
            squares.append(square.rot90(int(turn * 4), (1, 2)))
        return torch.stack(squares)

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
