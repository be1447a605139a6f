"""Sharp photos held in memory, blurred by simulated motion on the device of the training."""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from blurvid.config import MotionOptions
from blurvid.dataset.windows import in_windows
from blurvid.errors import InputError
from blurvid.media import is_photo, list_photos, read_photo
from blurvid.synth import Rendered, margin, simulate


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
        if source.is_dir():
            for path in list_photos(source, recursive=True):
                if in_windows(path, source):
                    continue
                yield _to_bytes(read_photo(path).pixels)
        elif source.suffix == ".tar":
            yield from _read_tar(source)
        else:
            yield _to_bytes(read_photo(source).pixels)


def _read_tar(source: Path) -> Iterator[Tensor]:
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and is_photo(Path(member.name)):
                    photo = read_photo(io.BytesIO(file.read()), name=f"{source}:{member.name}")
                    yield _to_bytes(photo.pixels)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{source}: cannot read this archive ({error})") from error


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
        self.photos = [photo.to(device) for photo in photos]
        self.device = device

    def __len__(self) -> int:
        return len(self.photos)

    def usable(self, side: int) -> list[Tensor]:
        """Photos from which a square of `side` px can be cut."""
        return [photo for photo in self.photos if min(photo.shape[1:]) >= side]

    def render(
        self, batch: int, size: int, options: MotionOptions, generator: torch.Generator
    ) -> Rendered:
        """Blur a batch of random crops.

        Args:
            batch: samples.
            size: side of the square images [px].
            options: the motion.
            generator: source of randomness, on the pool's device.

        Raises:
            InputError: every photo is too small for this size and motion.
        """
        smallest = size + 2 * margin((size, size), options)
        low, high = options.source_scale
        draw = torch.rand(1, generator=generator, device=self.device).item()
        side = math.ceil(smallest * (low + (high - low) * draw))
        photos = self.usable(side)
        while not photos and side > smallest:
            side = max(smallest, int(side * 0.9))
            photos = self.usable(side)
        if not photos:
            raise InputError(
                f"every photo is smaller than {smallest} px, which crops of {size} px and "
                f"paths of {options.max_path:g} px need"
            )
        count = batch * options.layers
        numbers = torch.rand(count, 5, generator=generator, device=self.device).tolist()
        crops = [_cut(photos[int(row[0] * len(photos))], side, row[1:]) for row in numbers]
        sources = torch.stack(crops).float().div_(255)
        sources = sources.reshape(batch, options.layers, 3, side, side)
        return simulate(sources, (size, size), options, generator)


def _cut(photo: Tensor, side: int, draws: Sequence[float]) -> Tensor:
    """Cut a random square, turned by a multiple of 90 degrees and maybe mirrored."""
    _, h, w = photo.shape
    top, left = int(draws[0] * (h - side + 1)), int(draws[1] * (w - side + 1))
    crop = photo[:, top : top + side, left : left + side].rot90(int(draws[2] * 4), (1, 2))
    return crop.flip(2) if draws[3] < 0.5 else crop
