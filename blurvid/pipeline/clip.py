"""The seven frames of one photo, and how they become files."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurvid import media, metrics
from blurvid.config import DEFAULT_GAMMA, ClipOptions, QualityOptions
from blurvid.flow import Field, Motion, measure
from blurvid.pipeline.memory import in_pieces
from blurvid.pipeline.order import arrange, check_direction
from blurvid.pipeline.replay import movables, origin
from blurvid.synth import average_frames


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """The seven frames of one photo."""

    tensor: Tensor
    """x[1..7], (7, 3, H, W) float32 RGB in [0, 1], on the CPU; H x W as the upright photo."""
    photo: media.Photo
    model: str
    """Name of the model that made them."""
    weights: str
    """Name of its weights."""
    device: str
    precision: str
    """Precision of the features: `float32`, `bfloat16` or `float16`."""
    seconds: float
    """Time the network took."""
    warnings: tuple[str, ...] = ()
    tiles: int = 1
    """Pieces in which the network saw the photo; 1 is the whole, with exact statistics."""
    scale: float = 1.0
    """Size at which the network saw the photo, as a share of its own."""
    quality: QualityOptions = QualityOptions()
    """What was done besides; an option that means nothing to the model is at its default."""
    middle: str | None = None
    """What gave the middle frame in the place of the model's own network."""
    direction: str = "auto"
    """Where the dominant motion was made to point."""
    flips: tuple[str, ...] = ()
    """Names of the regions in which time was turned around."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The frames, uint8 (7, H, W, 3) RGB."""
        return media.to_uint8(self.tensor)

    def face(self, direction: str) -> Clip:
        """Turn time, for the whole clip, so that the dominant motion points in a direction.

        Args:
            direction: `right`, `left`, `up` or `down`; where nothing moves, or only across it,
                the order stays (the latter with a warning). `auto` changes nothing.

        Returns:
            A clip with frames of its own.

        Raises:
            OptionError: no such direction.
        """
        check_direction(direction)
        return self._arranged(direction, ())

    def flip(self, region: media.RegionLike) -> Clip:
        """Turn time around for one object: frames i and 8 - i swap inside of a region.

        The region's edge moves to where the frames of a pair agree, as far as it can within 3 %
        of the photo, and is blended. May be called again for other regions.

        Args:
            region: `X,Y,W,H` (text or numbers) in pixels of the upright photo, or in percent
                (`10%,20%,30%,40%`); `X,Y`, likewise, for what moves at that point (where nothing
                does, nothing is turned, with a warning); or a mask, white where time is turned
                around: an image file, or an array (H, W).

        Returns:
            A clip with frames of its own.

        Raises:
            OptionError: no region.
            InputError: a mask that cannot be read, or a rectangle outside of the photo.
        """
        return self._arranged("auto", (media.region(region),))

    def _arranged(self, direction: str, flips: tuple[media.Region, ...]) -> Clip:
        frames = self.tensor.clone()
        warnings = arrange(frames, direction, flips)
        return dataclasses.replace(
            self,
            tensor=frames,
            warnings=self.warnings + warnings,
            direction=self.direction if direction == "auto" else direction,
            flips=self.flips + tuple(region.name for region in flips),
        )

    @functools.cached_property
    def reblur_psnr(self) -> float:
        """How well the average of the frames explains the photo [dB]; inf if exactly.

        The response of the photo's camera is not known; that of the constraint stands for it,
        gamma 2.2 where there was none.
        """
        gamma = self.quality.constraint
        gamma = DEFAULT_GAMMA if gamma is None else gamma
        # In pieces: light of all frames at once would take twice their memory.
        errors = [
            (average_frames(frames, gamma) - seen).square().sum(dtype=torch.float64)
            for frames, seen in in_pieces(self.tensor, self.photo.pixels)
        ]
        return float(metrics.psnr_of(torch.stack(errors).sum() / self.photo.pixels.numel()))

    def flow(self, reverse: bool = False) -> NDArray[np.float32]:
        """Motion during the exposure: where each pixel of frame 1 is in frame 7.

        Frames beyond 1280 px are measured at that size, and the motion is scaled up.

        Args:
            reverse: measure from frame 7 to frame 1.

        Returns:
            Displacements [px], (H, W, 2) float32, x to the right, y downwards.
        """
        return media.flow_array(self._field(reverse))

    def motion(self, reverse: bool = False) -> Motion:
        """The same in a few numbers: dominant motion, median, 95th percentile, longest [px]."""
        return self._field(reverse).motion

    def save_flow(
        self, target: str | Path, *, reverse: bool = False, overwrite: bool = False
    ) -> Path:
        """Write the motion during the exposure as `.flo`, `.npy` or, in colours, as `.png`.

        Args:
            target: a file; the suffix names the kind.
            reverse: measure from frame 7 to frame 1.
            overwrite: replace an existing file.

        Returns:
            The file written.

        Raises:
            OutputError: the file exists, or cannot be written.
            OptionError: another suffix.
        """
        target = media.check_flow(Path(target), overwrite)
        return media.write_flow(self._field(reverse), target, overwrite=overwrite)

    @functools.cached_property
    def _fields(self) -> dict[bool, Field]:
        """Flows that have been measured, by whether time was reversed."""
        return {}

    def _field(self, reverse: bool) -> Field:
        if reverse not in self._fields:
            self._fields[reverse] = measure(self.tensor, reverse)
        return self._fields[reverse]

    def save(
        self,
        target: str | Path,
        *,
        options: ClipOptions | None = None,
        stem: str | None = None,
        overwrite: bool = False,
        kind: str | None = None,
        **changes: Any,
    ) -> list[Path]:
        """Write the frames as `.mp4`, `.gif`, `.webp` or `.html`, or as PNG files in a folder.

        Args:
            target: where to; the suffix names the kind.
            options: how they are shown.
            stem: start of the names of files in a folder; the photo's name by default.
            overwrite: replace existing files.
            kind: one of `config.FORMATS`, whatever the target is called.
            changes: single fields of `ClipOptions`, such as `fps=10, bounce=True`.

        Returns:
            The files written.

        Raises:
            OutputError: a file exists already, or cannot be written.
            OptionError: a suffix that is not known.
            TypeError: no such field.
        """
        options = dataclasses.replace(options or ClipOptions(), **changes)
        kind = kind or media.kind_of(Path(target))
        return media.write_frames(
            self.tensor,
            Path(target),
            photo=self.photo,
            options=options,
            stem=stem or stem_of(self.photo),
            overwrite=overwrite,
            kind=kind,
            **(self._told() if kind == "html" else {}),
        )

    def save_still(self, target: str | Path, *, overwrite: bool = False) -> Path:
        """Write the middle frame as a picture, with what the photo came with.

        Args:
            target: `.png`, `.tif`, `.jpg` or `.webp`.
            overwrite: replace an existing file.

        Returns:
            The file written.

        Raises:
            OutputError: the file exists already, or cannot be written.
            OptionError: another suffix.
        """
        frame = self.tensor[len(self.tensor) // 2]
        return media.write_still(frame, Path(target), self.photo, overwrite=overwrite)

    def save_montage(self, target: str | Path, *, overwrite: bool = False) -> Path:
        """Write one sheet with the photo and its frames, and crops of where most moves.

        Args:
            target: a file ending in `.png`.
            overwrite: replace an existing file.

        Returns:
            The file written.

        Raises:
            OutputError: the file exists already, or cannot be written.
            OptionError: another suffix.
        """
        return media.write_montage(self.tensor, Path(target), self.photo, overwrite=overwrite)

    def _told(self) -> dict[str, Any]:
        """What a player shows besides: how the frames came about, and what moves on its own."""
        reblur = f"{min(self.reblur_psnr, 999.0):.1f} dB"
        return {
            "facts": {"model": self.model, "weights": self.weights, "re-blur PSNR": reblur},
            "objects": movables(self.tensor, self._field(False)),
            "origin": origin(
                self.photo,
                self.model,
                self.weights,
                self.quality,
                self.middle,
                self.direction,
                self.flips,
            ),
        }


def stem_of(photo: media.Photo) -> str:
    """Name for the frames of a photo: that of its file without the suffix."""
    return "frame" if photo.name == "-" else Path(photo.name).stem or "frame"
