"""Training samples for deblurrers of the middle frame: kinds of blur, and views of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from blurvid.blur import average_frames
from blurvid.config import FRAMES, MIDDLE, Gamma
from blurvid.lab.options import KindOptions
from blurvid.lab.synth import KINDS, blur, reach

SHORTER = (3, 5)
"""Frames around the middle one whose average is the second view of an average: a shorter
exposure."""


class SharpSource(Protocol):
    """A source of windows that has sharp images, too, at less cost."""

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw y (B, 3, S, S) and x (B, 7, 3, S, S), RGB in [0, 1], on the device."""

    def sharp(self, batch: int, size: int, generator: torch.Generator) -> Tensor:
        """Draw sharp images, (B, 3, S, S), RGB in [0, 1], on the device."""

    def describe(self) -> str:
        """Say in a few words what the windows are made of, for the model card."""


class KindSource:
    """Windows of another source, and its sharp images blurred in other ways.

    Args:
        source: windows of seven frames, and sharp images.
        kinds: shares of the kinds.
        gammas: camera responses and their shares, for all kinds but the average.
        views: give x as the middle frame and a second view of the same kind as y, of the same
            moment but with another length or path of the blur, (B, 2, 3, S, S); else x has seven
            frames, all the middle one where y is no average.
    """

    def __init__(
        self,
        source: SharpSource,
        kinds: KindOptions,
        gammas: Sequence[tuple[Gamma, float]],
        views: bool,
    ) -> None:
        self.source, self.kinds, self.views = source, kinds, views
        self.names = ("average", *KINDS)
        self.shares = torch.tensor([getattr(kinds, name) for name in self.names])
        self.gammas = [gamma for gamma, _ in gammas]
        self.gamma_shares = torch.tensor([share for _, share in gammas])
        self.margin = reach(kinds)

    def draw(self, batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        g = generator
        drawn = torch.multinomial(self.shares.to(g.device), batch, replacement=True, generator=g)
        blurry, frames = [], []
        averages = int((drawn == 0).sum())
        if averages:
            y, x = self.source.draw(averages, size, g)
            blurry.append(y)
            frames.append(self._views(x[:, MIDDLE - 1], self._shorter(x, g)) if self.views else x)
        for i, kind in enumerate(self.names[1:], 1):
            count = int((drawn == i).sum())
            if not count:
                continue
            # What moves into the crop comes from around it.
            whole = self.source.sharp(count, size + 2 * self.margin, g)
            sharp = self._inner(whole, size)
            blurry.append(self._inner(self._blurred(whole, kind, g), size))
            if self.views:  # the second view of what is sharp is not
                other = "gaussian" if kind == "sharp" else kind
                frames.append(self._views(sharp, self._inner(self._blurred(whole, other, g), size)))
            else:
                frames.append(sharp.unsqueeze(1).expand(-1, FRAMES, -1, -1, -1))
        return torch.cat(blurry), torch.cat(frames)

    def _inner(self, x: Tensor, size: int) -> Tensor:
        return x[..., self.margin : self.margin + size, self.margin : self.margin + size]

    @staticmethod
    def _views(sharp: Tensor, second: Tensor) -> Tensor:
        return torch.stack([sharp, second], dim=1)

    def _blurred(self, x: Tensor, kind: str, generator: torch.Generator) -> Tensor:
        return blur(x, kind, self.kinds, self._gamma(generator), generator)

    def _shorter(self, x: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.randint(len(SHORTER), (1,), generator=generator, device=generator.device)
        first = (FRAMES - SHORTER[int(draw)]) // 2
        return average_frames(x[:, first : FRAMES - first], self._gamma(generator))

    def _gamma(self, generator: torch.Generator) -> Gamma:
        shares = self.gamma_shares.to(generator.device)
        return self.gammas[int(torch.multinomial(shares, 1, generator=generator))]

    def describe(self) -> str:
        total = float(self.shares.sum())
        given = zip(self.names, self.shares.tolist(), strict=True)
        shares = [f"{share / total:.0%} {name}" for name, share in given if share]
        return f"{self.source.describe()}; kinds of blur: {', '.join(shares)}"
