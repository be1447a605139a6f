"""One photo to seven frames: fit to the model's size, run it, undo the fit."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from blurvid import media, runtime
from blurvid.config import FRAMES, MIDDLE, ROOMY
from blurvid.errors import BlurvidError, DeviceError, InputError
from blurvid.models import MotionMiddle, MotionModel, SelfEnsemble, SequenceModel, onward_of
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.fitted import Fitted, Knowledge, times_of
from blurvid.pipeline.memory import (
    FRAME_SIZE,
    Plan,
    constrain_pieces,
    frames_on_disk,
    plan,
    room_for,
)
from blurvid.pipeline.more import extend
from blurvid.pipeline.order import arrange
from blurvid.pipeline.scale import extract_scaled
from blurvid.pipeline.tiles import fill_in_tiles
from blurvid.pipeline.trust import assess
from blurvid.recipe import Recipe
from blurvid.trajectory import Progress

PhotoLike: TypeAlias = str | Path | BinaryIO | Image.Image | NDArray[Any] | Tensor | media.Photo
"""What a photo may come as."""

FITTING = 0.9
"""Share of the time that a fit takes, about; the rest is for frames."""
ATTEMPTS = 4
"""Where memory runs out all the same, each is made in half of what the one before was to take."""


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Frames of a bare image, and how they came about."""

    frames: Tensor
    """x[1..7], or x[4] alone, (T, 3, H, W) float32 in [0, 1], on the CPU."""
    dtype: torch.dtype
    """Precision of the features."""
    device: torch.device
    tiles: int = 1
    scale: float = 1.0
    warnings: tuple[str, ...] = ()
    fitted: Fitted | None = None
    """What the frames were rendered from, where they were."""


class Extractor:
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
        self.recipe, self.network, self.given = recipe, model, given
        self.device, self.dtype, self.max_memory = device, dtype, max_memory
        self.fitting: MotionModel | None = None
        """The model that fits motion, where it is one that does."""
        if isinstance(model, MotionModel | MotionMiddle):
            self.fitting = model if isinstance(model, MotionModel) else model.model
            self.fitting.passes = recipe.quality.passes
        plain = recipe.quality.passes == 1 or self.fitting is not None
        self.model = model if plain else SelfEnsemble(model, recipe.quality.passes)
        self.flips = tuple(media.region(value) for value in recipe.order.flips)
        self.hints = Knowledge.of(recipe.hints) if self.fitting else None
        self.on_progress: Progress | None = None
        """Told what begins in a photo, and the share of it that is done."""

    def __call__(self, photo: PhotoLike) -> Clip:
        """Extract the frames of a photo.

        Args:
            photo: as for `extract`.

        Raises:
            InputError: an unreadable photo, or a region outside of it.
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32; the
                message names the stage that gave them first.
        """
        photo = as_photo(photo)
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
                warnings += trust.warnings
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
            plain = dataclasses.replace(self.recipe.quality, passes=1, constraint=None, scale=1.0)
            recipe = Recipe(self.recipe.weights, quality=plain)
            # With its own plan of memory: fit, strips, tiles and precision are as for the seven.
            step = Extractor(net, recipe, self.device, self.dtype, self.max_memory)

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

    @property
    def host_memory(self) -> int | None:
        """Most memory of the process [bytes], where it is that which was limited, not a GPU's."""
        return self.max_memory if self.device.type == "cpu" else None

    def _room_for(self, height: int, width: int) -> Tensor:
        """Room for the frames, on disk where there is too little memory."""
        return room_for(height, width, self.model.count, self.host_memory)

    @torch.no_grad()
    def frames(self, y: Tensor) -> Found:
        """Extract frames from a bare image.

        Args:
            y: blurry image, (3, H, W), RGB in [0, 1], on the CPU; where the middle frame is given,
                that behind it, (6, H, W).

        Raises:
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32.
        """
        height, width = y.shape[-2:]
        fitted = fit(y, self.model.size_multiple).unsqueeze(0)
        for dtype in dict.fromkeys((self.dtype, torch.float32)):
            found = self._fill(fitted, dtype)
            lost = [i for i, frame in enumerate(found.frames, 1) if not frame.isfinite().all()]
            if not lost:
                break
        else:
            maker = self.model.maker(lost)
            raise BlurvidError(f"{maker} gave values that are not finite (NaN or infinity)")
        for frame in found.frames:
            frame.clamp_(0, 1)
        with runtime.memory_guard(found.device):
            frames = found.frames.cpu()[..., :height, :width]
            self._finish(frames, y[:3])
        warnings = found.warnings
        if dtype != self.dtype and found.device == self.device:
            warnings += ("half precision overflowed; done in float32",)
        return dataclasses.replace(found, frames=frames, warnings=warnings)

    def _fill(self, y: Tensor, dtype: torch.dtype) -> Found:
        """Run the model on (1, 3, H, W); out of memory, in smaller pieces, then on the CPU."""
        room = runtime.room(self.device, self.max_memory)
        pixels = y.shape[-2] * y.shape[-1]
        problem: DeviceError | None = None
        for _ in range(ATTEMPTS):
            try:
                how = self._plan(y, self.device, dtype, room)
            except DeviceError as error:
                problem = problem or error
                break
            try:
                found = self._run(y, self.device, dtype, how)
            except DeviceError as error:
                # The traceback would keep what the failed attempt had in its hands.
                problem = problem or DeviceError(str(error))
                frames = 0 if how.on_disk else self.model.count * FRAME_SIZE * pixels
                room = (how.memory + frames) // 2
                continue
            if problem is None:
                return found
            warning = "memory ran out; done in smaller pieces"
            return dataclasses.replace(found, warnings=(*found.warnings, warning))
        cpu = torch.device("cpu")
        assert problem is not None
        if self.device.type == "cpu" or not isinstance(self.network, nn.Module):
            raise problem
        runtime.place(self.network, cpu)
        try:
            how = self._plan(y, cpu, torch.float32, runtime.room(cpu))
            found = self._run(y, cpu, torch.float32, how)
        finally:
            runtime.place(self.network, self.device)
        warning = f"{self.device} has too little memory; done on the CPU"
        return dataclasses.replace(found, warnings=(*found.warnings, warning))

    def _plan(self, y: Tensor, device: torch.device, dtype: torch.dtype, room: int) -> Plan:
        """Choose how to run the model on (1, 3, H, W) in so many bytes of `room`."""
        # Only CUDA devices have memory of their own; that of MPS is the host's.
        host = runtime.room(torch.device("cpu")) if device.type == "cuda" else None
        return plan(
            self.model,
            y.shape[-2],
            y.shape[-1],
            dtype.itemsize,
            room,
            roomy=ROOMY if device.type == "cpu" else None,
            host=host,
            whole=self.fitting is not None,
        )

    def _run(self, y: Tensor, device: torch.device, dtype: torch.dtype, how: Plan) -> Found:
        """Run the model on (1, 3, H, W) as planned; the frames are where the plan says."""
        height, width = y.shape[-2:]
        shape = (self.model.count, 3, height, width)
        if self.fitting is not None:
            with runtime.memory_guard(device):
                out = frames_on_disk(height, width, shape[0]) if how.on_disk else torch.empty(shape)
                return self._fit(self.fitting, out, y.to(device), dtype)
        with runtime.memory_guard(device), runtime.autocast(device, dtype):
            where = device if how.near else torch.device("cpu")
            frames = (
                frames_on_disk(height, width, shape[0])
                if how.on_disk
                else torch.empty(shape, device=where)
            )
            tiles = 1
            if how.side is None:
                self.model.fill(frames, y.to(device), how.step)
            else:
                tiles = fill_in_tiles(self.model, frames, y, how.side, how.step, device)
        warnings: tuple[str, ...] = ()
        if tiles > 1:
            warnings = (f"too little memory for the whole; seen in {tiles} overlapping tiles",)
        return Found(frames, dtype, device, tiles=tiles, warnings=warnings)

    def _fit(self, model: MotionModel, out: Tensor, y: Tensor, dtype: torch.dtype) -> Found:
        """Fit the motion of (1, 3, H, W) and render frames into `out`."""
        know = self.hints or Knowledge(None, ())
        hints, notes = know.of_photo(y.shape[-2], y.shape[-1])
        tell = self.on_progress or (lambda stage, share: None)
        model.dtype = dtype
        try:
            found = model.fit(y, lambda stage, share: tell(stage, FITTING * share), hints)
        except OverflowError:  # to be seen in the frames, as of other models
            return Found(out.fill_(torch.nan), dtype, y.device, warnings=notes)
        tell("frames", FITTING)
        fitted = Fitted.of(model, y, found)
        fitted.render(times_of(len(out)), out)
        return Found(out, dtype, y.device, warnings=notes, fitted=fitted)

    def _finish(self, frames: Tensor, y: Tensor) -> None:
        """Make frames average to the photo where that is asked for, in place."""
        if self.recipe.quality.constraint is not None:
            constrain_pieces(frames, y, self.recipe.quality.constraint)


def fit(y: Tensor, multiple: int) -> Tensor:
    """Pad to the right and below by reflection until `multiple` divides both sides.

    Args:
        y: (C, H, W).
        multiple: as the model wants it.

    Returns:
        (C, H', W'); the image is the upper left part of it, or all of it and no copy.
    """
    if not any(side % multiple for side in y.shape[-2:]):
        return y
    y = y.unsqueeze(0)
    for _ in range(2):  # reflection reaches at most side - 1 pixels far at a time
        right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
        right, below = min(right, y.shape[-1] - 1), min(below, y.shape[-2] - 1)
        y = F.pad(y, (0, right, 0, below), mode="reflect")
    right, below = (-side % multiple for side in (y.shape[-1], y.shape[-2]))
    return F.pad(y, (0, right, 0, below), mode="replicate")[0]


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
