"""Self-ensemble: the answers to mirrored inputs, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from blurvid.errors import OptionError

if TYPE_CHECKING:
    from blurvid.models import SequenceModel

LEFT_RIGHT, TOP_BOTTOM = (-1,), (-2,)
HALF_TURN = (-1, -2)
FLIPS = {1: (), 2: (LEFT_RIGHT,), 4: (LEFT_RIGHT, TOP_BOTTOM, HALF_TURN)}
"""Axes along which each further pass flips the image, by the number of passes."""


class SelfEnsemble:
    """A model asked several times, about y and its mirror images.

    `ensemble(y)`, (B, 3, H, W) -> (B, T, 3, H, W), as the model itself. An answer about a mirrored
    image is mirrored back. It may run backwards in time: with a canonical direction, to the right,
    it does after a mirroring left to right; near vertical, or where order is arbitrary, either
    may be. So each answer is turned to the order that is nearer to those before it, over the
    whole image.
    """

    def __init__(self, model: SequenceModel, passes: int) -> None:
        """Wrap a model.

        Args:
            model: the model.
            passes: 1, 2 (mirrored left to right) or 4 (top to bottom too).

        Raises:
            OptionError: another number of passes.
        """
        if passes not in FLIPS:
            raise OptionError(f"passes must be {', '.join(map(str, FLIPS))}, not {passes}")
        self.model, self.passes = model, passes
        self.name, self.count = model.name, model.count
        self.size_multiple = model.size_multiple

    def __call__(self, y: Tensor, /) -> Tensor:
        """Turn y (B, 3, H, W) into frames (B, T, 3, H, W)."""
        return filled(self, y)

    def fill(self, out: Tensor, y: Tensor) -> None:
        """Extract the frames of one image.

        Args:
            out: the frames go there, (T, 3, H, W) float32, on any device.
            y: one blurry image, (1, 3, H, W).
        """
        self.model.fill(out, y)
        answer = torch.empty_like(out)
        for axes in FLIPS[self.passes]:
            self.model.fill(answer, y.flip(axes))
            for frame in answer:  # one by one: all at once would take as much memory again
                frame.copy_(frame.flip(axes))
            turned = order_agreement(answer, out) < 0
            for frame, i in zip(
                out, reversed(range(self.count)) if turned else range(self.count), strict=True
            ):
                frame += answer[i]
        out /= self.passes

    def memory(self, height: int, width: int, feature_size: int) -> int:
        """Predict the most that `fill` takes besides its arguments [bytes]."""
        answer = 4 * 3 * (self.count + 1) * height * width
        return answer + self.model.memory(height, width, feature_size)


def filled(model: SequenceModel, y: Tensor) -> Tensor:
    """Frames of images, each as `fill` gives them: in tiles, where a model cuts them.

    Args:
        model: gives T frames.
        y: (B, 3, H, W).

    Returns:
        (B, T, 3, H, W), float32.
    """
    out = y.new_empty((y.shape[0], model.count, *y.shape[1:]), dtype=torch.float32)
    for frames, image in zip(out, y, strict=True):
        model.fill(frames, image.unsqueeze(0))
    return out


def order_agreement(frames: Tensor, reference: Tensor) -> float:
    """Whether two estimates of a sequence run the same way.

    Args:
        frames: (T, C, H, W).
        reference: same shape.

    Returns:
        Negative where the reverse of `frames` is nearer to `reference`, by squared distance.
    """
    # |a - b|² - |reversed a - b|² is twice this sum with its sign turned; written so, it is
    # not a small difference of large numbers. A pair counts once.
    total = 0.0
    for i in range(len(frames) // 2):
        change, expected = (x[i] - x[-1 - i] for x in (frames, reference))
        total += (change * expected).sum(dtype=torch.float64).item()
    return total
