"""A part of a photo: a rectangle, the image of a mask, or what moves at a point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blurvid.bounds import edges_of
from blurvid.errors import InputError, OptionError
from blurvid.flow import region_of
from blurvid.media.exif import resized_exif
from blurvid.media.photo import Photo
from blurvid.media.read import read_photo

RegionLike: TypeAlias = str | Path | Sequence[float] | NDArray[Any] | Tensor
"""What a region may come as."""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; bottom and right are the first beyond it."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def name(self) -> str:
        """`X,Y,W,H`."""
        return f"{self.left},{self.top},{self.right - self.left},{self.bottom - self.top}"

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (..., H, W) that is in it: a view."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def grown(self, margin: int, height: int, width: int) -> Box:
        """With a margin on each side, as far as an image of H x W goes."""
        return Box(
            max(0, self.top - margin),
            min(height, self.bottom + margin),
            max(0, self.left - margin),
            min(width, self.right + margin),
        )

    def inside(self, outer: Box) -> Box:
        """The same, counted from the corner of another one."""
        return Box(
            *(edge - outer.top for edge in (self.top, self.bottom)),
            *(edge - outer.left for edge in (self.left, self.right)),
        )


@dataclass(frozen=True, eq=False)
class Region:
    """A part of photos of any size. Use `region` to make one."""

    name: str
    """As the user called it."""
    edges: tuple[tuple[float, bool], ...] = ()
    """Left, top, width, height, each in pixels, or in percent of the photo where it says true;
    only the first two for a point; empty for a mask."""
    mask: Tensor | None = None
    """(H, W), bool."""

    def of(
        self, height: int, width: int, objects: Callable[[], Tensor] | None = None
    ) -> tuple[Tensor, tuple[str, ...]]:
        """The region of one photo.

        Args:
            height: H of the upright photo.
            width: W.
            objects: gives the objects in it, as `flow.find_objects` does; for points.

        Returns:
            (H, W), bool; and what the user should know about it.

        Raises:
            InputError: the rectangle or the point lies outside of the photo.
        """
        if self.mask is not None:
            return self._scaled(self.mask, height, width)
        if len(self.edges) < 4:
            left, top = self._pixels(height, width)
            return self._object(left / width, top / height, height, width, objects)
        found = torch.zeros(height, width, dtype=torch.bool)
        self.box(height, width).of(found)[:] = True
        return found, self.cut(height, width)

    def box(self, height: int, width: int) -> Box:
        """The rectangle in a photo of H x W.

        Raises:
            OptionError: a point or a mask.
            InputError: it lies outside of the photo.
        """
        if len(self.edges) < 4:
            raise OptionError(f"{self.name} is no rectangle X,Y,W,H in pixels or percent")
        left, top, wide, high = self._pixels(height, width)
        found = Box(
            *(round(top), min(round(top + high), height)),
            *(round(left), min(round(left + wide), width)),
        )
        if found.top >= found.bottom or found.left >= found.right:
            raise InputError(f"the region {self.name} is outside of the photo, {width}x{height} px")
        return found

    def cut(self, height: int, width: int) -> tuple[str, ...]:
        """What the user should know about the rectangle where a photo of H x W cuts it."""
        left, top, wide, high = self._pixels(height, width)
        if left + wide <= width + 0.5 and top + high <= height + 0.5:
            return ()
        inside = self.box(height, width).name
        return (f"the region {self.name} reaches beyond the photo; it is {inside} there",)

    def within(self, outer: Box, height: int, width: int) -> Region:
        """The same region, of the part of a photo of H x W that is in a box.

        Raises:
            InputError: a rectangle or a point outside of it.
        """
        if self.mask is not None:
            mask, _ = self._scaled(self.mask, height, width)
            return dataclasses.replace(self, mask=outer.of(mask))
        if len(self.edges) == 4:
            box = self.box(height, width)
            top, left = max(box.top, outer.top), max(box.left, outer.left)
            sides = [min(box.right, outer.right) - left, min(box.bottom, outer.bottom) - top]
        else:
            left, top = map(int, self._pixels(height, width))
            sides = []
        inside = outer.left <= left < outer.right and outer.top <= top < outer.bottom
        if not inside or min(sides, default=1) <= 0:
            raise InputError(f"the region {self.name} is outside of the part {outer.name}")
        values = [left - outer.left, top - outer.top, *sides]
        return dataclasses.replace(self, edges=tuple((float(value), False) for value in values))

    def _pixels(self, height: int, width: int) -> list[float]:
        """The edges in pixels of a photo."""
        return [
            value * side / 100 if percent else value
            for (value, percent), side in zip(self.edges, (width, height) * 2, strict=False)
        ]

    def _object(
        self, x: float, y: float, height: int, width: int, objects: Callable[[], Tensor] | None
    ) -> tuple[Tensor, tuple[str, ...]]:
        if objects is None or x >= 1 or y >= 1:
            raise InputError(f"the point {self.name} is outside of the photo, {width}x{height} px")
        labels = objects()
        number = int(labels[int(y * labels.shape[0]), int(x * labels.shape[1])])
        if not number:
            nothing = torch.zeros(height, width, dtype=torch.bool)
            return nothing, (f"nothing moves at {self.name}; time was left as it was there",)
        return region_of(labels, number, height, width), ()

    def _scaled(self, mask: Tensor, height: int, width: int) -> tuple[Tensor, tuple[str, ...]]:
        if mask.shape == (height, width):
            return mask, ()
        rows, columns = mask.shape
        if not mask.any():
            return torch.zeros(height, width, dtype=torch.bool), ()
        scaled = F.interpolate(
            mask[None, None].float(), size=(height, width), mode="bilinear", antialias=True
        )
        warning = f"the mask {self.name} has {columns}x{rows} px; scaled to {width}x{height}"
        return scaled[0, 0] >= 0.5, (warning,)


def cropped(photo: Photo, box: Box) -> Photo:
    """The part of a photo that is in a box, with all that goes with the photo."""
    pixels = box.of(photo.pixels)
    return dataclasses.replace(
        photo,
        pixels=pixels,
        alpha=None if photo.alpha is None else box.of(photo.alpha),
        exif=photo.exif and resized_exif(photo.exif, (pixels.shape[-1], pixels.shape[-2])),
    )


def region(value: RegionLike | Region) -> Region:
    """Understand what a user calls a region.

    Args:
        value: `X,Y,W,H` (text or numbers) in pixels of the upright photo, or in percent of it
            (`10%,20%,30%,40%`); `X,Y`, likewise, for what moves at that point; or a mask,
            true or white where the region is: an image file, or
            an array or tensor (H, W).

    Raises:
        OptionError: no rectangle, no mask, or nothing in it.
        InputError: the mask cannot be read.
    """
    if isinstance(value, Region):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return _of_array(torch.as_tensor(value), "given")
    if not isinstance(value, str | Path):
        value = ",".join(f"{number:g}" for number in value)
    name = str(value)
    edges = edges_of(name)
    if edges is not None:
        return Region(name, edges)
    photo = read_photo(name)
    light = photo.pixels.mean(dim=0)
    return _of_array(light if photo.alpha is None else light * photo.alpha[0], name)


def _of_array(values: Tensor, name: str) -> Region:
    """A mask of booleans, bytes or floats up to 1."""
    if values.ndim != 2 or not values.numel():
        raise OptionError(f"the mask {name} has the shape {tuple(values.shape)}; (H, W) is needed")
    half = 0.5 if values.is_floating_point() else 0 if values.dtype == torch.bool else 127
    mask = values.cpu() if values.dtype == torch.bool else values.cpu() > half
    if not mask.any():
        raise OptionError(f"the mask {name} is empty: what is to be chosen is white")
    return Region(name, mask=mask)
