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
from blurvid.config import MIDDLE, ROOMY, MotionHints, OrderOptions, QualityOptions
from blurvid.errors import BlurvidError, DeviceError, OptionError
from blurvid.models import Fast, MotionMiddle, MotionModel, SelfEnsemble, SequenceModel
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
from blurvid.pipeline.middle import Middle, check_frame
from blurvid.pipeline.order import arrange, check_direction
from blurvid.pipeline.scale import check_scale, extract_scaled
from blurvid.pipeline.tiles import fill_in_tiles
from blurvid.pipeline.trust import assess
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
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        quality: QualityOptions = QualityOptions(),
        warnings: tuple[str, ...] = (),
        max_memory: int | None = None,
        middle: Middle | None = None,
        order: OrderOptions = OrderOptions(),
        fast: bool = False,
        hints: MotionHints = MotionHints(),
    ) -> None:
        check_quality(quality)
        check_direction(order.direction)
        self.direction = order.direction
        self.flips = tuple(media.region(value) for value in order.flips)
        self.network = model
        self.fast: Fast | None = None
        self.fitting: MotionModel | None = None
        """The model that fits motion, where it is one that does."""
        if isinstance(model, MotionModel | MotionMiddle):
            self.fitting = model if isinstance(model, MotionModel) else model.model
            self.fitting.passes = quality.passes
        elif fast and isinstance(model, nn.Module):
            self.fast = Fast(model, model, device)
        single = self.fast or model
        plain = quality.passes == 1 or self.fitting is not None
        self.model = single if plain else SelfEnsemble(single, quality.passes)
        self.hints = Knowledge.of(hints)
        self.on_progress: Progress | None = None
        """Told what begins in a photo, and the share of it that is done."""
        self.name, self.quality = name, quality
        self._sizes: set[torch.Size] = set()  # a size that came before will come again
        self.device, self.dtype = device, dtype
        self.max_memory = max_memory
        self.middle = middle
        """What gives the middle frame in the place of the model's own network."""
        self.warnings = warnings
        """What the user should know about the options, whatever the photo."""
        self._told = False

    def __call__(self, photo: PhotoLike) -> Clip:
        """Extract the seven frames of a photo.

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
        seconds = time.perf_counter() - started
        trust = None
        fitted = found.fitted
        with runtime.memory_guard(torch.device("cpu")):
            if self.model.count > 1:
                trust = assess(
                    found.frames,
                    photo.pixels,
                    found.scale,
                    fixed=self.quality.scale != "auto",
                    any_length=fitted is not None,
                )
            turned = arrange(
                found.frames, self.direction, self.flips, fitted.field if fitted else None
            )
            fitted = fitted and fitted.arranged(turned.whole, turned.masks)
        told = trust.warnings if trust else ()
        return Clip(
            tensor=found.frames,
            photo=photo,
            model=self.model.name,
            weights=self.name,
            device=runtime.describe(found.device),
            precision=str(found.dtype).removeprefix("torch."),
            seconds=seconds,
            warnings=photo.warnings + found.warnings + told + turned.notes,
            tiles=found.tiles,
            scale=found.scale,
            quality=self.quality,
            middle=self.middle.name if self.middle and self.model.count > 1 else None,
            direction=self.direction,
            flips=tuple(region.name for region in self.flips),
            trusted=trust,
            fitted=fitted if self.model.count > 1 else None,
        )

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

        given = None if self.middle is None else self.middle.frame
        seen = y
        if given is not None:
            assert self.middle is not None
            check_frame(given, y, self.middle.name)
            if self.fitting is None:
                seen = torch.cat([y, given])
        # One frame shows no motion to measure, and what fits motion has sizes of its own.
        plain = self.model.count == 1 or self.fitting is not None
        scale = 1.0 if self.quality.scale == "auto" and plain else None
        with runtime.memory_guard(torch.device("cpu")):
            frames, scale = extract_scaled(
                seen, run, self.quality.scale if scale is None else scale, self._room_for
            )
            assert last is not None
            if scale != 1:
                if given is not None:
                    frames[MIDDLE - 1] = given
                self._finish(frames, y)
        return dataclasses.replace(last, frames=frames, scale=scale)

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
        size = found.frames.shape
        with runtime.memory_guard(found.device):
            frames = runtime.to_host(found.frames, pinned=size in self._sizes)
            self._sizes.add(size)
            frames = frames[..., :height, :width]
            self._finish(frames, y[:3])
        warnings = found.warnings
        if self.fast is not None and self.fast.replay.problem is not None and not self._told:
            self._told = True
            warnings += (f"not compiled: {self.fast.replay.problem}; done without",)
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
            if self.fast is not None:
                self.fast.replay.forget()  # what was recorded knows where the weights were
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
        hints, notes = self.hints.of_photo(y.shape[-2], y.shape[-1])
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
        if self.quality.constraint is not None:
            constrain_pieces(frames, y, self.quality.constraint)


def check_quality(options: QualityOptions) -> None:
    """Refuse options that mean nothing.

    Raises:
        OptionError: one is out of range; the message names it. (The number of passes is
            checked by `SelfEnsemble`.)
    """
    gamma = options.constraint
    exponent = isinstance(gamma, int | float) and 0.1 <= gamma <= 10
    if gamma is not None and gamma != "srgb" and not exponent:
        raise OptionError(f"constraint {gamma!r}: use an exponent such as 1.0 or 2.2, or srgb")
    check_scale(options.scale)


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
