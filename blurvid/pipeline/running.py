"""One model on one image, in whatever memory there is."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid import runtime
from blurvid.config import Gamma
from blurvid.errors import BlurvidError, DeviceError
from blurvid.models import MotionMiddle, MotionModel, SelfEnsemble, SequenceModel
from blurvid.pipeline.fitted import Fitted, Knowledge, times_of
from blurvid.pipeline.memory import FRAME_SIZE, Plan, constrain_pieces, frames_on_disk, plan
from blurvid.pipeline.tiles import fill_in_tiles
from blurvid.trajectory import Progress

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


class Runner:
    """A model on its device, for bare images."""

    on_progress: Progress | None = None
    """Told what begins in an image, and the share of it that is done."""
    hints: Knowledge | None = None
    """What is known of the motion."""

    def __init__(
        self,
        model: SequenceModel,
        device: torch.device,
        dtype: torch.dtype,
        max_memory: int | None = None,
        passes: int = 1,
        constraint: Gamma | None = None,
    ) -> None:
        """Take up a model.

        Args:
            model: what gives the frames, on its device.
            device: where it is.
            dtype: precision of the features.
            max_memory: most to take of the device [bytes].
            passes: answers averaged.
            constraint: camera response in which the frames are made to average to the image.
        """
        self.network, self.constraint = model, constraint
        self.device, self.dtype, self.max_memory = device, dtype, max_memory
        self.fitting: MotionModel | None = None
        """The model that fits motion, where it is one that does."""
        if isinstance(model, MotionModel | MotionMiddle):
            self.fitting = model if isinstance(model, MotionModel) else model.model
            self.fitting.passes = passes
        plain = passes == 1 or self.fitting is not None
        self.model = model if plain else SelfEnsemble(model, passes)

    def tell(self, stage: str, share: float) -> None:
        """Say what begins, and the share of the whole that is done, to whom it is of interest."""
        if self.on_progress is not None:
            self.on_progress(stage, share)

    @property
    def host_memory(self) -> int | None:
        """Most memory of the process [bytes], where it is that which was limited, not a GPU's."""
        return self.max_memory if self.device.type == "cpu" else None

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
            if all(frame.isfinite().all() for frame in found.frames):
                break
        else:
            raise BlurvidError(
                f"the {self.model.name} model gave values that are not finite (NaN or infinity)"
            )
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
        self.tell("frames", 0.0)
        with runtime.memory_guard(device), runtime.autocast(device, dtype):
            where = device if how.near else torch.device("cpu")
            frames = (
                frames_on_disk(height, width, shape[0])
                if how.on_disk
                else torch.empty(shape, device=where)
            )
            tiles = 1
            if how.side is None:
                self.model.fill(frames, y.to(device))
            else:
                tiles = fill_in_tiles(self.model, frames, y, how.side, device)
        warnings: tuple[str, ...] = ()
        if tiles > 1:
            warnings = (f"too little memory for the whole; seen in {tiles} overlapping tiles",)
        return Found(frames, dtype, device, tiles=tiles, warnings=warnings)

    def _fit(self, model: MotionModel, out: Tensor, y: Tensor, dtype: torch.dtype) -> Found:
        """Fit the motion of (1, 3, H, W) and render frames into `out`."""
        know = self.hints or Knowledge(None, ())
        hints, notes = know.of_photo(y.shape[-2], y.shape[-1])
        model.dtype = dtype
        try:
            found = model.fit(y, lambda stage, share: self.tell(stage, FITTING * share), hints)
        except OverflowError:  # to be seen in the frames, as of other models
            return Found(out.fill_(torch.nan), dtype, y.device, warnings=notes)
        self.tell("frames", FITTING)
        fitted = Fitted.of(model, y, found)
        fitted.render(times_of(len(out)), out)
        return Found(out, dtype, y.device, warnings=notes, fitted=fitted)

    def _finish(self, frames: Tensor, y: Tensor) -> None:
        """Make frames average to the photo where that is asked for, in place."""
        if self.constraint is not None:
            constrain_pieces(frames, y, self.constraint)


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
