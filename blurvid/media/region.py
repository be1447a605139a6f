"""A part of a photo: a rectangle, the image of a mask, or what moves at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from blurvid.errors import InputError, OptionError
from blurvid.flow import region_of
from blurvid.media.read import read_photo
from blurvid.regions import edges_of

RegionLike: TypeAlias = str | Path | Sequence[float] | NDArray[Any] | Tensor
"""What a region may come as."""


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
        left, top, *sides = (
            value * side / 100 if percent else value
            for (value, percent), side in zip(self.edges, (width, height) * 2, strict=False)
        )
        if not sides:
            return self._object(left / width, top / height, height, width, objects)
        wide, high = sides
        rows = slice(round(top), min(round(top + high), height))
        columns = slice(round(left), min(round(left + wide), width))
        found = torch.zeros(height, width, dtype=torch.bool)
        found[rows, columns] = True
        if not found.any():
            raise InputError(f"the region {self.name} is outside of the photo, {width}x{height} px")
        return found, ()

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
