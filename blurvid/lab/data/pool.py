"""Windows of real clips as training material, kept in memory as far as it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.errors import InputError
from blurvid.flow import sequence_motion
from blurvid.lab.data.windows import StoredWindow
from blurvid.lab.synth import canonical_sign

MEMORY = 4 * 2**30
"""Bytes of windows held in memory; what is beyond is read anew each time."""


class WindowSource:
    """Random crops of stored windows.

    Args:
        windows: of seven sharp frames each.
        device: where the crops go.
        order: `canonical` turns windows whose dominant motion goes the other way around in
            time; `random` turns half of them around.
        flips: mirror crops at random, and with random order also turn them by 90 degrees.

    Raises:
        InputError: no windows, or one without seven sharp frames.
    """

    def __init__(
        self,
        windows: Sequence[StoredWindow],
        device: torch.device,
        order: Literal["canonical", "random"],
        flips: bool = False,
    ) -> None:
        if not windows:
            raise InputError("no windows to train on")
        for window in windows:
            if window.count != FRAMES:
                raise InputError(
                    f"{window.name}: {window.count} sharp frames; training needs {FRAMES}"
                )
        self.windows, self.device, self.order, self.flips = windows, device, order, flips
        self._held: dict[int, Tensor] = {}
        self._bytes = 0

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        numbers = torch.rand(batch, 4, generator=generator, device=generator.device).tolist()
        crops = torch.stack([self._crop(size, row) for row in numbers]).to(self.device)
        images = crops.float().div_(255)
        y, x = images[:, 0], images[:, 1:]
        if not self.flips:
            return y, x
        if self.order == "random":  # the paper's rotations; they would change the direction
            turn = torch.randint(4, (1,), generator=generator, device=generator.device).item()
            y, x = y.rot90(int(turn), (-2, -1)), x.rot90(int(turn), (-2, -1))
        return mirror(y, x, generator)

    def describe(self) -> str:
        clips = len({window.clip for window in self.windows})
        return f"{len(self.windows)} windows of {clips} clips"

    def _crop(self, size: int, draws: Sequence[float]) -> Tensor:
        """One window, (8, 3, size, size) uint8: y, then the frames."""
        index = int(draws[0] * len(self.windows))
        images = self._load(index)
        height, width = images.shape[-2:]
        if min(height, width) < size:
            raise InputError(
                f"{self.windows[index].name}: {width}x{height} px is smaller than the crop of "
                f"{size} px"
            )
        top, left = int(draws[1] * (height - size + 1)), int(draws[2] * (width - size + 1))
        crop = images[..., top : top + size, left : left + size]
        turn = self.order == "random" and draws[3] < 0.5
        return torch.cat([crop[:1], crop[1:].flip(0)]) if turn else crop

    def _load(self, index: int) -> Tensor:
        if index in self._held:
            return self._held[index]
        window = self.windows[index]
        sharp = window.sharp()
        if self.order == "canonical" and self._backwards(window, sharp):
            sharp = sharp.flip(0)
        images = torch.cat([window.blurry().unsqueeze(0), sharp])
        stored = (images * 255).round().to(torch.uint8)
        if self._bytes + stored.nbytes <= MEMORY:
            self._held[index] = stored
            self._bytes += stored.nbytes
        return stored

    @staticmethod
    def _backwards(window: StoredWindow, sharp: Tensor) -> bool:
        """Whether the dominant motion goes against the canonical direction."""
        motion = window.record.get("motion")
        if motion is None:
            total, _ = sequence_motion(sharp)
            motion = {"dx": total.dx, "dy": total.dy}
        shift = torch.tensor([motion["dx"], motion["dy"]], dtype=torch.float32)
        still = torch.zeros(())
        sign = canonical_sign(shift, still, still, (sharp.shape[-2], sharp.shape[-1]))
        return bool(sign < 0)


def mirror(y: Tensor, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror samples at random in ways that keep a shift in the canonical direction.

    Top to bottom as it is; left to right together with the order of time. What only turns or
    zooms does not stay canonical, so simulated motion is not mirrored; its photos are, before
    they move.

    Args:
        y: blurry images, (B, 3, H, W).
        x: frames, (B, 7, 3, H, W).
        generator: source of randomness, on the device of y.
    """
    coins = torch.rand(2, len(y), 1, 1, 1, generator=generator, device=y.device) < 0.5
    y = torch.where(coins[0], y.flip(-2), y)
    x = torch.where(coins[0].unsqueeze(1), x.flip(-2), x)
    y = torch.where(coins[1], y.flip(-1), y)
    return y, torch.where(coins[1].unsqueeze(1), x.flip(-1, 1), x)
