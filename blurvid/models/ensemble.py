"""Self-ensemble: the answers to mirrored inputs, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    `ensemble(y)`, (B, 3, H, W) -> (B, 7, 3, H, W), as the model itself. An answer about a mirrored
    image is mirrored back. It may run backwards in time: with a canonical direction, to the right,
    it does after a mirroring left to right; near vertical, or where order is arbitrary, either
    may be. So each answer is turned to the order that is nearer to the plain one, over the
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
        self.name, self.size_multiple = model.name, model.size_multiple

    def __call__(self, y: Tensor, /) -> Tensor:
        plain = self.model(y).float()
        total = plain.clone()
        for axes in FLIPS[self.passes]:
            total += align_order(self.model(y.flip(axes)).float().flip(axes), plain)
        return total / self.passes


def align_order(frames: Tensor, reference: Tensor) -> Tensor:
    """Turn sequences around where their reverse is nearer to a reference.

    Args:
        frames: (B, T, C, H, W).
        reference: same shape.

    Returns:
        The frames, each sequence in the order with the smaller squared distance.
    """
    # |a - b|² - |reversed a - b|² is twice this sum with its sign turned; written so, it is
    # not a small difference of large numbers. A pair counts once.
    half = frames.shape[1] // 2
    change = (frames - frames.flip(1))[:, :half]
    expected = (reference - reference.flip(1))[:, :half]
    agreement = (change * expected).sum(dim=(1, 2, 3, 4), keepdim=True)
    return frames.where(agreement >= 0, frames.flip(1))
