"""One photo to its clip: its part, the scale, middle frame, trust, order of time, more frames."""

from __future__ import annotations

import copy
import dataclasses
import time
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blurvid import media, runtime
from blurvid.config import FRAMES, MIDDLE
from blurvid.errors import InputError
from blurvid.models import SequenceModel, onward_of
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.fitted import Fitted, Knowledge, times_of
from blurvid.pipeline.memory import room_for
from blurvid.pipeline.more import extend
from blurvid.pipeline.order import arrange
from blurvid.pipeline.part import MARGIN, part_of
from blurvid.pipeline.running import Found, Runner
from blurvid.pipeline.scale import extract_scaled
from blurvid.pipeline.trust import assess
from blurvid.recipe import Recipe

PhotoLike: TypeAlias = str | Path | BinaryIO | Image.Image | NDArray[Any] | Tensor | media.Photo
"""What a photo may come as."""


class Extractor(Runner):
    """A loaded model on its device, for many photos. `pipeline.opening` makes them."""

    def __init__(
        self,
        model: SequenceModel,
        recipe: Recipe,
        device: torch.device,
        dtype: torch.dtype,
        max_memory: int | None = None,
        given: Tensor | None = None,
    ) -> None:
        """Take up a model.

        Args:
            model: what gives the frames, on its device.
            recipe: what is done with it.
            device: where it is.
            dtype: precision of the features.
            max_memory: most to take of the device [bytes].
            given: the middle frame, (3, H, W) in [0, 1], where it is a picture.
        """
        quality = recipe.quality
        super().__init__(model, device, dtype, max_memory, quality.passes, quality.constraint)
        self.recipe, self.given = recipe, given
        self.flips = tuple(media.region(value) for value in recipe.order.flips)
        region = recipe.part.region
        self.part = None if region is None else media.region(region)
        if self.fitting is not None:
            self.hints = Knowledge.of(recipe.hints)

    def __call__(self, photo: PhotoLike) -> Clip:
        """Extract the frames of a photo.

        Args:
            photo: as for `extract`.

        Raises:
            InputError: an unreadable photo, or a region outside of it.
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32.
        """
        photo = as_photo(photo)
        if self.part is not None:
            return self._of_part(photo, self.part)
        started = time.perf_counter()
        found = self.scaled(photo.pixels)
        frames, fitted, trust = found.frames, found.fitted, None
        order, sequence = self.recipe.order, self.model.count > 1
        warnings = photo.warnings + found.warnings
        with runtime.memory_guard(torch.device("cpu")):
            if sequence:
                trust = assess(
                    frames,
                    photo.pixels,
                    found.scale,
                    fixed=self.recipe.quality.scale != "auto",
                    any_length=fitted is not None,
                )
            if order.direction != "auto" or self.flips:
                field = fitted.field if fitted else None
                turned = arrange(frames, order.direction, self.flips, field)
                fitted = fitted and fitted.arranged(turned.whole, turned.masks)
                warnings += turned.notes
        names = tuple(region.name for region in self.flips)
        recipe = dataclasses.replace(
            self.recipe,
            order=dataclasses.replace(order, flips=names),
            precision=str(found.dtype).removeprefix("torch."),
            frames=len(frames),
            beyond=0,
        )
        clip = Clip(
            tensor=frames,
            photo=photo,
            recipe=recipe,
            device=runtime.describe(found.device),
            tiles=found.tiles,
            scale=found.scale,
            trusted=trust,
            fitted=fitted if sequence else None,
            host_memory=self.host_memory,
        )
        if sequence and self.recipe.frames != FRAMES:
            clip = clip.resample(self.recipe.frames)
        if self.recipe.beyond:
            more, told = self.extended(
                frames, photo.pixels, self.recipe.beyond, found.scale, clip.fitted
            )
            recipe = dataclasses.replace(recipe, beyond=self.recipe.beyond)
            clip = dataclasses.replace(clip, tensor=more, seven=frames, recipe=recipe)
            warnings += told
        seconds = time.perf_counter() - started
        return dataclasses.replace(clip, seconds=seconds, warnings=tuple(dict.fromkeys(warnings)))

    def _of_part(self, photo: media.Photo, region: media.Region) -> Clip:
        """Do what is asked for of a region, as if it were the photo but for a margin."""
        height, width = photo.pixels.shape[-2:]
        part = region.box(height, width)
        seen = part.grown(MARGIN, height, width)
        inner = copy.copy(self)
        inner.part = None
        inner.flips = tuple(flip.within(seen, height, width) for flip in self.flips)
        if self.hints is not None:
            still = tuple(rest.within(seen, height, width) for rest in self.hints.still)
            inner.hints = dataclasses.replace(self.hints, still=still)
        clip = part_of(inner(media.cropped(photo, seen)), photo, part, seen, self.recipe.part.paste)
        told = dataclasses.replace(self.recipe.part, region=part.name)
        return dataclasses.replace(clip, recipe=dataclasses.replace(clip.recipe, part=told))

    def extended(
        self,
        frames: Tensor,
        y: Tensor,
        count: int,
        scale: float = 1.0,
        fitted: Fitted | None = None,
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Add frames before and after the exposure, at the spacing of the seven.

        Where the motion was fitted, they are rendered from it. A cascade applies its outermost
        network to its own frames again; for other models everything moves on as it did between the
        two outermost frames.

        Args:
            frames: x[1..7], (7, 3, H, W), RGB, in [0, 1], on the CPU, in any order of time.
            y: the blurry image, (3, H, W), RGB in [0, 1].
            count: how many at each end.
            scale: size at which the model saw the image, and sees it again.
            fitted: what the seven were rendered from, where they were.

        Returns:
            x[1 - count .. 7 + count], (7 + 2 count, 3, H, W) in [0, 1], and what the user should
            know.
        """
        warnings: dict[str, None] = {}
        net = onward_of(self.network)
        predict = None
        if net is not None:
            # With its own plan of memory: fit, tiles and precision are as for the seven.
            step = Runner(net, self.device, self.dtype, self.max_memory)

            def predict(images: Tensor) -> Tensor:
                found = step.frames(images)
                warnings.update(dict.fromkeys(found.warnings))
                return found.frames

        with runtime.memory_guard(torch.device("cpu")):
            out = room_for(y.shape[-2], y.shape[-1], FRAMES + 2 * count, self.host_memory)
            if fitted is not None:
                fitted.render(times_of(FRAMES, count), out)
            for i, frame in enumerate(frames):
                out[count + i] = frame
            if fitted is None:
                extend(out, count, y, scale, predict)
        return out, tuple(warnings)

    def scaled(self, y: Tensor) -> Found:
        """Extract frames at the scale asked for, `auto` choosing one, and bring them to full size.

        Args:
            y: as for `frames`, which sees it at the scale 1.
        """
        last: Found | None = None  # no more than that: frames that measured blur take memory

        def run(image: Tensor) -> Tensor:
            nonlocal last
            last = None
            last = self.frames(image)
            return last.frames

        given, seen, wanted = self.given, y, self.recipe.quality.scale
        if given is not None:
            self._check_given(given, y)
            if self.fitting is None:
                seen = torch.cat([y, given])
        # One frame shows no motion to measure, and what fits motion has sizes of its own.
        plain = self.model.count == 1 or self.fitting is not None
        if wanted == "auto" and plain:
            wanted = 1.0
        with runtime.memory_guard(torch.device("cpu")):
            frames, scale = extract_scaled(seen, run, wanted, self._room_for)
            assert last is not None
            if scale != 1:
                if given is not None:
                    frames[MIDDLE - 1] = given
                self._finish(frames, y)
        return dataclasses.replace(last, frames=frames, scale=scale)

    def _check_given(self, frame: Tensor, y: Tensor) -> None:
        """Refuse a middle frame of another size than the photo."""
        if frame.shape != y.shape:
            sizes = [f"{image.shape[-1]}x{image.shape[-2]}" for image in (frame, y)]
            name = self.recipe.middle.name if self.recipe.middle else "given"
            raise InputError(f"{name}: the middle frame has {sizes[0]} px, the photo {sizes[1]} px")

    def _room_for(self, height: int, width: int) -> Tensor:
        """Room for the frames, on disk where there is too little memory."""
        return room_for(height, width, self.model.count, self.host_memory)


def as_photo(photo: PhotoLike) -> media.Photo:
    """Open a photo, whatever it comes as.

    Raises:
        InputError: it cannot be read.
    """
    if isinstance(photo, media.Photo):
        return photo
    value: Any = photo
    opened = isinstance(value, str | Path) or hasattr(value, "read")
    return media.read_photo(value) if opened else media.photo_from_array(value)
