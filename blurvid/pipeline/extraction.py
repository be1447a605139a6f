"""One photo to its clip: the model is loaded, and sees the photo in whatever memory there is."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from blurvid import media, runtime
from blurvid.config import FRAMES, RunOptions
from blurvid.errors import BlurvidError, DeviceError, InputError
from blurvid.models import (
    GivenPicture,
    GuidedCascade,
    MiddleOf,
    MotionModel,
    SelfEnsemble,
    SequenceModel,
    middle_of,
)
from blurvid.models.cascade import Cascade
from blurvid.pipeline.clip import Clip
from blurvid.pipeline.fitted import Fitted, hints_of, times_of
from blurvid.pipeline.part import MARGIN, part_of
from blurvid.pipeline.sizes import (
    FRAME_SIZE,
    View,
    choose,
    fill_in_tiles,
    fit,
    frames_on_disk,
    restore,
    room_for,
    shrink,
    view_of,
)
from blurvid.recipe import GIVEN, Choices, Recipe, Source, resolve
from blurvid.trajectory import Course, Progress, Proposal, Sighting, sighted
from blurvid.weights import WeightSet
from blurvid.weights.foreign import load_foreign
from blurvid.weights.store import load

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
    """A loaded model on its device, for many photos. `opened` makes them.

    Args:
        model: what gives the frames, on its device.
        recipe: what is done with it.
        device: where it is.
        dtype: precision of the features.
        max_memory: most to take of the device [bytes].
    """

    on_progress: Progress | None = None
    """Told what begins in an image, and the share of it that is done."""
    expected: Proposal | None = None
    """Motion that is known before the photo is asked, where its model fits one."""

    def __init__(
        self,
        model: SequenceModel,
        recipe: Recipe,
        device: torch.device,
        dtype: torch.dtype,
        max_memory: int | None = None,
    ) -> None:
        self.network, self.recipe = model, recipe
        self.device, self.dtype, self.max_memory = device, dtype, max_memory
        self.flips = tuple(media.region(value) for value in recipe.flips)
        self.part = None if recipe.region is None else media.region(recipe.region)
        self.fitting: MotionModel | None = None
        """The model that fits motion, where it is one that does."""
        self.still = tuple(media.region(value) for value in recipe.still)
        self.ways = tuple(
            way if way.region is None else dataclasses.replace(way, region=media.region(way.region))
            for way in recipe.motion
        )
        whole = model.model if isinstance(model, MiddleOf) else model
        if isinstance(whole, MotionModel):
            self.fitting = whole
            self.fitting.passes = recipe.passes
        plain = recipe.passes == 1 or self.fitting is not None
        self.model = model if plain else SelfEnsemble(model, recipe.passes)

    @property
    def host_memory(self) -> int | None:
        """Most memory of the process [bytes], where it is that which was limited, not a GPU's."""
        return None if self.device.type == "cuda" else self.max_memory

    def tell(self, stage: str, share: float) -> None:
        """Say what begins, and the share of the whole that is done, to whom it is of interest."""
        if self.on_progress is not None:
            self.on_progress(stage, share)

    def __call__(self, photo: media.PhotoLike) -> Clip:
        """Extract the frames of a photo.

        Args:
            photo: as for `extract`.

        Raises:
            InputError: an unreadable photo, or a region outside of it.
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32.
        """
        photo = media.as_photo(photo)
        if self.part is not None:
            return self._of_part(photo, self.part)
        started = time.perf_counter()
        found = self.scaled(photo.pixels)
        clip = Clip(
            tensor=found.frames,
            photo=photo,
            recipe=dataclasses.replace(
                self.recipe,
                direction="auto",
                flips=(),
                precision=str(found.dtype).removeprefix("torch."),
                frames=len(found.frames),
                beyond=0,
            ),
            device=runtime.describe(found.device),
            warnings=tuple(dict.fromkeys(photo.warnings + found.warnings)),
            tiles=found.tiles,
            scale=found.scale,
            fitted=found.fitted if self.model.count > 1 else None,
            host_memory=self.host_memory,
        )
        direction = self.recipe.direction
        if direction != "auto" or self.flips:
            with runtime.memory_guard(torch.device("cpu")):
                clip = clip.arranged(direction, self.flips, clip.tensor)
        if self.recipe.count not in (1, FRAMES):
            clip = clip.resample(self.recipe.frames, self.recipe.beyond)
        return dataclasses.replace(clip, seconds=time.perf_counter() - started)

    def expecting(self, motion: Proposal) -> Extractor:
        """The same for a photo whose motion is known, such as a picture of a video."""
        other = copy.copy(self)
        other.expected = motion
        return other

    def sighted(self, course: Course) -> Sighting:
        """Compare what the model sees in the blur of a video's picture with where things go.

        It sees nothing where it does not fit motion, where memory runs out, and where it gives
        values that are not finite: what to do then is for the extraction of that picture.
        """
        model = self.fitting
        if model is None:
            return 0.0, 0.0
        model.dtype = self.dtype

        def see(picture: Tensor) -> Proposal:
            y = picture.to(self.device)
            told = model.propose(model.sharpen(y), y)
            return Proposal(told.motion.each(lambda field: field.cpu()), told.error.cpu())

        try:
            with runtime.memory_guard(self.device):
                return sighted(course, see)
        except (DeviceError, OverflowError):
            return 0.0, 0.0

    def check_size(self, height: int, width: int) -> None:
        """Refuse a photo that there is too little memory for, before its pixels are read.

        That is where all of it has to be seen at a time, and no GPU comes first.

        Raises:
            DeviceError: too little memory.
        """
        whole = self.part is None and self.recipe.scale in ("auto", 1)
        if self.fitting is not None and whole and self.device.type == "cpu":
            room = runtime.room(self.device, self.max_memory)
            self._view(height, width, self.device, self.dtype, room)

    def _of_part(self, photo: media.Photo, region: media.Region) -> Clip:
        """Do what is asked for of a region, as if it were the photo but for a margin."""
        height, width = photo.pixels.shape[-2:]
        part = region.box(height, width)
        seen = part.grown(MARGIN, height, width)
        inner = copy.copy(self)
        inner.part = None
        inner.flips = tuple(flip.within(seen, height, width) for flip in self.flips)
        inner.still = tuple(rest.within(seen, height, width) for rest in self.still)
        inner.ways = tuple(
            way
            if way.region is None
            else dataclasses.replace(way, region=way.region.within(seen, height, width))
            for way in self.ways
        )
        if self.expected is not None:
            place = slice(seen.top, seen.bottom), slice(seen.left, seen.right)
            inner.expected = self.expected.part(place, height, width)
        clip = part_of(inner(media.cropped(photo, seen)), photo, part, seen, self.recipe.paste)
        recipe = dataclasses.replace(clip.recipe, region=part.name)
        warnings = (*clip.warnings, *region.cut(height, width))
        return dataclasses.replace(clip, recipe=recipe, warnings=warnings)

    def scaled(self, y: Tensor) -> Found:
        """Extract frames at the scale asked for, `auto` choosing one, and bring them to full size.

        Args:
            y: as for `frames`, which sees it at the scale 1.
        """
        wanted = self.recipe.scale
        # One frame shows no motion to measure, and what fits motion has sizes of its own.
        if wanted == "auto" and (self.model.count == 1 or self.fitting is not None):
            wanted = 1.0
        with runtime.memory_guard(torch.device("cpu")):
            if wanted == "auto":
                wanted = choose(y, lambda image: self.frames(image).frames)
            if wanted == 1:
                return self.frames(y)
            small = shrink(y, wanted)
            found = self.frames(small)
            out = room_for(y.shape[-2], y.shape[-1], self.model.count, self.host_memory)
            frames = restore(found.frames, small, y, out)
        return dataclasses.replace(found, frames=frames, scale=wanted)

    @torch.no_grad()
    def frames(self, y: Tensor) -> Found:
        """Extract frames from a bare image.

        Args:
            y: blurry image, (3, H, W), RGB in [0, 1], on the CPU.

        Raises:
            DeviceError: too little memory.
            BlurvidError: the network gives values that are not finite even in float32.
        """
        height, width = y.shape[-2:]
        fitted = fit(y, self.model.size_multiple).unsqueeze(0)
        for dtype in dict.fromkeys((self.dtype, torch.float32)):
            found = self._fill(fitted, dtype)
            if all(math.isfinite(frame.sum()) for frame in found.frames):
                break
        else:
            raise BlurvidError(
                f"the {self.model.name} model gave values that are not finite (NaN or infinity)"
            )
        for frame in found.frames:
            frame.clamp_(0, 1)
        with runtime.memory_guard(found.device):
            frames = found.frames.cpu()[..., :height, :width]
        warnings = found.warnings
        if dtype != self.dtype and found.device.type == self.device.type:
            warnings += ("half precision overflowed; done in float32",)
        return dataclasses.replace(found, frames=frames, warnings=warnings)

    def _fill(self, y: Tensor, dtype: torch.dtype) -> Found:
        """Run the model on (1, 3, H, W); out of memory, in smaller pieces, then on the CPU."""
        room = runtime.room(self.device, self.max_memory)
        problem: DeviceError | None = None
        for _ in range(ATTEMPTS):
            try:
                how = self._view(y.shape[-2], y.shape[-1], self.device, dtype, room)
            except DeviceError as error:
                problem = problem or error
                break
            try:
                found = self._run(y, self.device, dtype, how)
            except DeviceError as error:
                # The traceback would keep what the failed attempt had in its hands.
                problem = problem or DeviceError(str(error))
                pixels = y.shape[-2] * y.shape[-1]
                frames = 0 if how.on_disk else self.model.count * FRAME_SIZE * pixels
                room = (how.memory + frames) // 2
                continue
            return (
                found
                if problem is None
                else _warned(found, "memory ran out; done in smaller pieces")
            )
        assert problem is not None
        if self.device.type == "cpu" or not isinstance(self.network, nn.Module):
            raise problem
        cpu = torch.device("cpu")
        runtime.place(self.network, cpu)
        try:
            how = self._view(y.shape[-2], y.shape[-1], cpu, torch.float32, runtime.room(cpu))
            found = self._run(y, cpu, torch.float32, how)
        finally:
            runtime.place(self.network, self.device)
        return _warned(found, f"{self.device} has too little memory; done on the CPU")

    def _view(
        self, height: int, width: int, device: torch.device, dtype: torch.dtype, room: int
    ) -> View:
        """Choose how to run the model on (1, 3, H, W) in so many bytes of `room`."""
        return view_of(
            *(self.model, height, width, dtype.itemsize, room),
            # Only CUDA devices have memory of their own; that of MPS is the host's.
            host=runtime.room(torch.device("cpu")) if device.type == "cuda" else None,
            whole=self.fitting is not None,
        )

    def _run(self, y: Tensor, device: torch.device, dtype: torch.dtype, how: View) -> Found:
        """Run the model on (1, 3, H, W) in such a view; the frames are where it says."""
        height, width = y.shape[-2:]
        shape = (self.model.count, 3, height, width)
        near = how.near and self.fitting is None
        with runtime.memory_guard(device):
            if how.on_disk:
                out = frames_on_disk(height, width, shape[0])
            else:
                out = torch.empty(shape, device=device if near else torch.device("cpu"))
            if self.fitting is not None:
                return self._fit(self.fitting, out, y.to(device), dtype)
            self.tell("frames", 0.0)
            with runtime.autocast(device, dtype):
                if how.side is None:
                    self.model.fill(out, y.to(device))
                    return Found(out, dtype, device)
                tiles = fill_in_tiles(self.model, out, y, how.side, device)
        found = Found(out, dtype, device, tiles)
        told = f"too little memory for the whole; seen in {tiles} overlapping tiles"
        return _warned(found, told) if tiles > 1 else found

    def _fit(self, model: MotionModel, out: Tensor, y: Tensor, dtype: torch.dtype) -> Found:
        """Fit the motion of (1, 3, H, W) and render frames into `out`."""
        if isinstance(model.middle, GivenPicture) and model.middle.frame.shape != y.shape:
            name = self.recipe.middle.name if self.recipe.middle else "given"
            sizes = [f"{x.shape[-1]}x{x.shape[-2]}" for x in (model.middle.frame, y)]
            raise InputError(f"{name}: the middle frame has {sizes[0]} px, the photo {sizes[1]} px")
        hints, notes = hints_of(self.ways, self.still, y.shape[-2], y.shape[-1])
        if self.expected is not None:
            known = self.expected if hints.motion is None else hints.motion.over(self.expected)
            hints = dataclasses.replace(hints, motion=known)
        model.dtype = dtype
        try:
            found = model.fit(y, lambda stage, share: self.tell(stage, FITTING * share), hints)
        except OverflowError:  # to be seen in the frames, as of other models
            return Found(out.fill_(torch.nan), dtype, y.device, warnings=notes)
        self.tell("frames", FITTING)
        fitted = Fitted.of(model, found, ordered=hints.motion is not None)
        del found  # which lies on the device, where `render` copies it again
        fitted.render(times_of(len(out)), out)
        return Found(out, dtype, y.device, warnings=notes, fitted=fitted)


def _warned(found: Found, warning: str) -> Found:
    return dataclasses.replace(found, warnings=(*found.warnings, warning))


@contextmanager
def opened(recipe: Recipe, run: RunOptions = RunOptions()) -> Iterator[Extractor]:
    """Load what a recipe names, and keep it ready for the time of a block.

    Args:
        recipe: what `resolve` or `resolve_middle` gives.
        run: device, threads, memory.

    Yields:
        A function from a photo to its `Clip`.

    Raises:
        InputError: a mask or a middle frame that cannot be read.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there.
    """
    with runtime.running(run) as (device, dtype):
        network = _middle(recipe.weights) if recipe.frames == 1 else _sequence(recipe)
        assert isinstance(network, nn.Module)
        runtime.place(network, device)
        yield Extractor(network, recipe, device, dtype, run.max_memory)


def _sequence(recipe: Recipe) -> SequenceModel:
    """Load a model of all frames, with another network for the middle one where one is named."""
    assert isinstance(recipe.weights.origin, WeightSet)
    network = load(recipe.weights.origin)
    if recipe.middle is not None and isinstance(network, MotionModel):
        network.middle = _middle(recipe.middle)
    elif recipe.middle is not None and isinstance(network, Cascade):
        return GuidedCascade(network, _middle(recipe.middle))
    return network


def _middle(source: Source) -> SequenceModel:
    """Load what gives the middle frame alone."""
    if isinstance(source.origin, WeightSet):
        return middle_of(load(source.origin))
    assert source.origin is not None
    if source.kind == GIVEN:
        return GivenPicture(media.read_photo(source.origin).pixels)
    return load_foreign(source.origin)


def extractor(
    weights_name: str | Path | WeightSet | None = None,
    run: RunOptions = RunOptions(),
    *,
    model: str = "auto",
    middle: str | Path = "auto",
    **choices: Unpack[Choices],
) -> AbstractContextManager[Extractor]:
    """Load a model and keep it ready for the time of a block, see `opened`.

    Args:
        weights_name: name or folder of a weight set, or one found already.
        run: device, precision, threads.
        model: as for `recipe.resolve`, as are the others.
        middle: what gives the middle frame.
        choices: fields of the recipe.
    """
    return opened(resolve(model, weights_name, middle, run.precision, **choices), run)


def extract(
    photo: media.PhotoLike,
    *,
    run: RunOptions = RunOptions(),
    model: str = "auto",
    weights_name: str | Path | WeightSet | None = None,
    middle: str | Path = "auto",
    **choices: Unpack[Choices],
) -> Clip:
    """Turn one motion-blurred photo into the seven sharp frames it was made of.

    Args:
        photo: a path, an open binary file, a PIL image, a numpy array ((H, W, 3) uint8, or
            float in [0, 1]) or a tensor ((3, H, W) in [0, 1]), RGB.
        run: device, precision, threads.
        model: as for `recipe.resolve`, such as `direct`.
        weights_name: the same, as are the others.
        middle: what gives the middle frame.
        choices: fields of the recipe, such as `frames=25`, `beyond=1` or `direction="left"`.

    Returns:
        The clip, of the photo's size or that of its part; its `recipe` tells what made it.

    Raises:
        OptionError: an option is out of range.
        InputError: an unreadable photo.
        WeightsError: weights missing or damaged.
        DeviceError: the device is not there or has too little memory.
        TypeError: no such field.
    """
    recipe = resolve(model, weights_name, middle, run.precision, **choices)
    photo = media.as_photo(photo)
    with opened(recipe, run) as ready:
        clip = ready(photo)
    return dataclasses.replace(clip, warnings=recipe.warnings + clip.warnings)
