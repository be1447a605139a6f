"""Networks on CUDA devices that see many photos of the same size: compiled and recorded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from blurvid import runtime
from blurvid.errors import DeviceError
from blurvid.networks.blocks import activated, fused_activations

if TYPE_CHECKING:
    from blurvid.models import SequenceModel

MOST_SIZES = 8
"""Sizes that are kept recorded; of more, those used last."""


class Replay:
    """A network whose work on the device is recorded for each size, and then replayed.

    The norms and ReLUs are compiled to one reading and one writing of each map; convolutions are
    those of cuDNN, the fastest for the size. Compiling the network as a whole would join little
    more, and take minutes for each of its sizes rather than seconds for all.

    Whatever goes wrong with compiling or recording: from then on the network is run plainly, with
    the same result, and `problem` tells.
    """

    def __init__(self, net: nn.Module) -> None:
        """Wrap a network, which is to stay where it is; see `forget`.

        Args:
            net: maps images (B, 3, H, W) to a tensor.
        """
        self.net = net
        self.problem: str | None = None
        self.recordings: dict[tuple[torch.Size, torch.dtype], runtime.Recording] = {}

    def __call__(self, y: Tensor) -> Tensor:
        """Run the network without gradients; the result is overwritten by the next call."""
        if self.problem is None:
            try:
                # Tensors of inference mode could not be used outside of it later.
                with torch.inference_mode(False), torch.no_grad():
                    return self._replayed(y)
            except Exception as error:  # of compilers, libraries, drivers: of any class
                known = error.__cause__ if isinstance(error, DeviceError) else None
                self.problem = runtime.first_line(known or error)
            self.forget()
            runtime.release(y.device)
        found: Tensor = self.net(y)
        return found

    def _replayed(self, y: Tensor) -> Tensor:
        dtype = runtime.autocast_dtype(y.device)
        recording = self.recordings.pop((y.shape, dtype), None)
        if recording is None:
            while len(self.recordings) >= MOST_SIZES:
                del self.recordings[next(iter(self.recordings))]
            beside = next(iter(self.recordings.values()), None)
            # Casts that are kept would be gone when they are read by a replay.
            uncached = runtime.autocast(y.device, dtype, keep_casts=False)
            with fused_activations(self.net, _fused()), uncached:
                recording = runtime.Recording(self.net, y, beside)
        self.recordings[y.shape, dtype] = recording  # the last one used is the last
        return recording(y)

    def forget(self) -> None:
        """Throw all recordings away: to be called before the network is moved."""
        self.recordings.clear()


@cache
def _fused() -> Callable[..., Any]:
    return runtime.compiled(activated, any_size=True)


class Fast:
    """A model that is replayed where it sees an image in one go; otherwise as it is.

    `fast(y)`, (B, 3, H, W) -> (B, T, 3, H, W), as the model itself.
    """

    def __init__(self, model: SequenceModel, net: nn.Module, device: torch.device) -> None:
        """Wrap a model.

        Args:
            model: the model.
            net: the same, as a module.
            device: where it is, unless moved.
        """
        self.model, self.device, self.replay = model, device, Replay(net)
        self.name, self.size_multiple = model.name, model.size_multiple
        self.count = model.count

    @property
    def can_strip(self) -> bool:
        """Whether `fill` can save memory."""
        return self.model.can_strip

    def __call__(self, y: Tensor, /) -> Tensor:
        """Turn y (B, 3, H, W) into frames (B, T, 3, H, W)."""
        return self.replay(y).clone()

    def fill(self, out: Tensor, y: Tensor, step: int | None) -> None:
        """Extract the frames of one image.

        Args:
            out: the frames go there, (T, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
            step: how the model saves memory, see there.
        """
        if step is None and y.device.type == self.device.type:
            out.copy_(self.replay(y)[0])
        else:
            self.model.fill(out, y, step)

    def maker(self, frames: Collection[int]) -> str:
        """Name what makes the first of some frames."""
        return self.model.maker(frames)

    def memory(self, height: int, width: int, feature_size: int, step: int | None) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""
        need = self.model.memory(height, width, feature_size, step)
        if step is not None:
            return need
        # The photo and the frames, one by one and together, beside those that are given away
        return need + 4 * 3 * (2 * self.count + 1) * height * width
