"""Noise: how much of it a photo has, and the photo without it.

Blurring averages noise away, so that in a noisy photo any motion seems to explain the photo better
than rest does. What is strong is taken out before motion is sought.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.trajectory.sampling import by_bands

STRONG = 3 / 255
"""Standard deviation of the noise of the grey picture, in its brightest places, that the networks
do not bear."""
EVENLY = 1.5
"""Noise is about as strong in every flat place, texture is not: most that the patches of less
detail may differ by."""
FINE = 0.5
"""Detail of the next scale, in that of the finest, that noise has at most: texture has more."""
PATCH = 8
"""Side of the patches that are compared [px]."""
LEAST, MORE = 0.05, 0.3
"""Shares of the patches that are compared, those of least detail first."""
TYPICAL = 0.89
"""What the patches of least detail have of the typical standard deviation of pure noise."""
LIT = (0.02, 0.97)
"""Means of patches that have their noise: others are cut off at black or white."""
STRENGTH = 2.1
"""Standard deviations of noise up to which detail is taken for noise."""
UNIT = (0.8908, 0.2007, 0.0856, 0.0413)
"""Standard deviation of the detail of white noise of unit strength, from fine to coarse."""
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, 0.0, -1 / 2), (1 / 4, -1 / 2, 1 / 4))
"""RGB to light and two differences of colour, whose noise is told apart more easily."""


def noise_of(y: Tensor) -> float:
    """Standard deviation of a photo's noise, or 0 where it is not strong.

    Args:
        y: photo, (1, 3, H, W), RGB in [0, 1].

    Returns:
        That of the mean of the three channels.
    """
    if min(y.shape[-2:]) < 2 * PATCH:
        return 0.0

    def details(rows: slice) -> Tensor:
        grey = y[..., rows, :].mean(dim=1, keepdim=True)
        coarser = _smooth(grey, 0)
        found = (grey - coarser).square(), (coarser - _smooth(coarser, 1)).square()
        return torch.cat([grey, *found], dim=1)

    means, *energies = F.avg_pool2d(by_bands(details, y.shape[-2], 6), PATCH).split(1, dim=1)
    lit = (means > LIT[0]) & (means < LIT[1])
    if not lit.any():
        return 0.0
    fine, coarse = (energy[lit].sqrt().sort().values for energy in energies)
    least, more = int(LEAST * (len(fine) - 1)), int(MORE * (len(fine) - 1))
    even = fine[more] < EVENLY * fine[least] and coarse[least] < FINE * fine[least]
    found = float(fine[least]) / UNIT[0] / TYPICAL
    return found if even and found > STRONG * float(means.max()) else 0.0


def denoised(y: Tensor) -> Tensor:
    """Take the noise out of a photo.

    Starlet detail (Starck, Fadili, Murtagh 2007) of light and colour is shrunk by its strength in
    the 3 x 3 places around (block thresholding, Cai and Silverman 2001); the strength of the noise
    is the median's.

    Args:
        y: photo, (1, 3, H, W), RGB in [0, 1].

    Returns:
        The same shape, in [0, 1].
    """
    matrix, height = y.new_tensor(OPPONENT), y.shape[-2]

    def detail(rows: slice) -> Tensor:
        rest = torch.einsum("ij,bjhw->bihw", matrix, y[..., rows, :])
        return (rest - _smooth(rest, 0)).abs_()

    medians = [channel.median() for channel in by_bands(detail, height, 2)[0]]
    limit = STRENGTH / UNIT[0] * torch.stack(medians).view(1, 3, 1, 1) / 0.6745

    def cleaned(rows: slice) -> Tensor:
        rest = torch.einsum("ij,bjhw->bihw", matrix, y[..., rows, :])
        out = torch.zeros_like(rest)
        for scale, unit in enumerate(UNIT):
            coarser = _smooth(rest, scale)
            detail = rest - coarser
            padded = F.pad(detail.square(), (1, 1, 1, 1), mode="replicate")
            around = F.avg_pool2d(padded, 3, 1)
            out += detail * (1 - (limit * unit).square() / (around + 1e-12)).clamp(min=0)
            rest = coarser
        return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), out + rest).clamp_(0, 1)

    return by_bands(cleaned, height, 2 * (2 ** len(UNIT) - 1) + 1)


def _smooth(x: Tensor, scale: int) -> Tensor:
    """B3 spline with holes, 5 places at a distance of 2**scale along each side."""
    step, channels = 2**scale, x.shape[1]
    kernel = x.new_tensor([1.0, 4, 6, 4, 1]).div(16).view(1, 1, 5, 1).expand(channels, 1, 5, 1)
    x = F.pad(x, (0, 0, 2 * step, 2 * step), mode="replicate")
    x = F.conv2d(x, kernel, dilation=(step, 1), groups=channels)
    x = F.pad(x, (2 * step, 2 * step, 0, 0), mode="replicate")
    return F.conv2d(x, kernel.transpose(2, 3), dilation=(1, step), groups=channels)
