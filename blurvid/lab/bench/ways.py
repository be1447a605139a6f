"""The ways to run a network on photos of one size: how many, in which precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from blurvid import runtime
from blurvid.config import ROOMY
from blurvid.lab.options import BenchOptions
from blurvid.models import Trainable
from blurvid.networks import FrameNet
from blurvid.pipeline.memory import FRAME_SIZE, Plan, frames_on_disk, gigabytes, plan
from blurvid.pipeline.tiles import fill_in_tiles


@dataclass
class Way:
    """A way to run a network on photos, and how long that took each time."""

    call: Callable[[Tensor], Tensor]
    """Runs it on photos (N, 3, H, W)."""
    dtype: torch.dtype = torch.float32
    how: Plan = field(default_factory=Plan)
    predicted: int = 0
    """Memory beside the weights [bytes]."""
    times: list[float] = field(default_factory=list)
    memory: int | None = None
    """The same, measured."""


@dataclass(frozen=True)
class Subject:
    """A network to time, in place on its device."""

    name: str
    net: nn.Module
    model: Trainable
    """The model that it is, or is a part of."""

    def title(self, resolution: str, dtype: torch.dtype) -> str:
        """What is run, for messages."""
        return f"{resolution}, {self.name} in {precision_name(dtype)}"

    def run(self, y: Tensor, how: Plan) -> Tensor:
        """Run it on (1, 3, H, W) as `pipeline` does, the frames beside the photo."""
        if self.net is not self.model:
            found: Tensor = self.net(y, step=how.step)
            return found
        size = (y.shape[-2], y.shape[-1])
        count = self.model.count
        frames = frames_on_disk(*size, count) if how.on_disk else y.new_empty((count, 3, *size))
        if how.side is None:
            self.model.fill(frames, y, how.step)
        else:
            fill_in_tiles(self.model, frames, y, how.side, how.step, y.device)
        return frames

    def memory(self, size: tuple[int, int], feature_size: int, count: int, how: Plan) -> int:
        """Predict the most that is taken beside the weights and the photos [bytes].

        Args:
            size: height and width of the photos [px].
            feature_size: bytes of one value of the features.
            count: photos in one go; or one, as planned.
            how: the plan.
        """
        image = FRAME_SIZE * size[0] * size[1]
        if isinstance(self.net, FrameNet):
            return count * self.net.memory(*size, feature_size, how.step)
        if count == 1:
            return how.memory - image + (0 if how.on_disk else self.model.count * image)
        # The frames one by one, and together
        need = self.model.memory(*size, feature_size, None)
        return count * (need + 2 * self.model.count * image)


@dataclass(frozen=True)
class Place:
    """Where things run, and how often."""

    device: torch.device
    max_memory: int | None
    peaks: Mapping[torch.dtype, float]
    options: BenchOptions
    left_out: dict[str, None] = field(default_factory=dict)
    """What was asked for but cannot be measured, and why; each once, in order."""

    def plan(self, model: Trainable, size: tuple[int, int], dtype: torch.dtype) -> Plan:
        """Choose how a model sees a photo, as `pipeline` does."""
        roomy = ROOMY if self.device.type == "cpu" else None
        return plan(model, *size, dtype.itemsize, self.room, roomy=roomy)

    @property
    def room(self) -> int:
        """Memory that may be taken [bytes]."""
        return runtime.room(self.device, self.max_memory)

    def leave_out(self, reason: str) -> None:
        """Tell that something is not measured."""
        self.left_out[reason] = None


def ways_to_run(
    subject: Subject, count: int, size: tuple[int, int], resolution: str, place: Place
) -> list[Way]:
    """Find all ways to run a network on photos that fit into the memory.

    Args:
        subject: the network.
        count: photos in a call. One is seen in strips or tiles where need be, several only in one
            go.
        size: their height and width [px].
        resolution: what that is called where a way is left out.
        place: where it runs.

    Raises:
        DeviceError: too little memory even for tiles of one photo.
    """
    plain = []
    for dtype in place.peaks:
        way = _plain_way(subject, count, size, dtype, resolution, place)
        plain += [] if way is None else [way]
    return plain


def _plain_way(
    subject: Subject,
    count: int,
    size: tuple[int, int],
    dtype: torch.dtype,
    resolution: str,
    place: Place,
) -> Way | None:
    """The way in a precision that `pipeline` goes, if there is one."""
    how = place.plan(subject.model, size, dtype) if count == 1 else Plan()
    if how.side is not None and subject.net is not subject.model:
        return None  # alone, it has no way to be run in tiles
    need = subject.memory(size, dtype.itemsize, count, how)
    photos = count * FRAME_SIZE * size[0] * size[1]
    if count > 1 and need + photos > place.room:
        place.leave_out(
            f"{subject.title(resolution, dtype)}: {count} photos at once take "
            f"{gigabytes(need + photos)} of memory, but only {gigabytes(place.room)} may be taken"
        )
        return None

    def call(y: Tensor) -> Tensor:
        with runtime.autocast(place.device, dtype):
            found: Tensor = subject.run(y, how) if count == 1 else subject.net(y)
            return found

    return Way(call, dtype, how, predicted=need)


def precision_name(dtype: torch.dtype) -> str:
    """Such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")
