"""TV-L1 flow on one level of a pyramid (Zach, Pock, Bischof 2007; Sánchez Pérez et al. 2013).

Of all flows u, the one with the least sum of |∇u| and ATTACHMENT * |I1(p + u) - I0(p)| is
sought: brightness stays along the way, and the flow is smooth but for edges, which cost no more
when they are steep. The two terms are taken in turns, tied together by TIGHTNESS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.flow.sampling import inside, pixel_grid, sample

LEVELS = 255.0
"""Brightness is counted in levels of 255, as in the papers."""
ATTACHMENT = 0.2
"""Weight lambda of the brightness. The papers take 0.15, which smooths over a bit more of what is
small; 0.3 follows more of the noise of extracted frames (both measured)."""
TIGHTNESS = 0.3
"""Theta: how far the two flows may part from each other."""
TIME_STEP = 0.25
"""Tau of the dual steps."""


def refine(first: Tensor, last: Tensor, flow: Tensor, warps: int, steps: int) -> Tensor:
    """Improve a flow between two images.

    Args:
        first: (B, 1, H, W), brightness in [0, LEVELS].
        last: a later image, likewise.
        flow: what is known about the flow from the first to the last [px], (B, 2, H, W).
        warps: how often brightness is linearised anew.
        steps: steps after each of these.

    Returns:
        The flow, (B, 2, H, W). Where it leaves the image it is continued smoothly.
    """
    height, width = first.shape[-2:]
    pixels = pixel_grid(height, width, first.device)
    slope = _gradient(first)
    later = torch.cat([last, _gradient(last)], dim=1)
    dual = first.new_zeros(len(first), 2, 2, height, width)  # (B, component, direction, H, W)
    for _ in range(warps):
        at = pixels + flow
        seen = sample(later, at)
        known = inside(at, height, width)
        # The mean slope of both images meets the truth to second order.
        gradient = 0.5 * (seen[:, 1:] + slope) * known
        # The median keeps edges, but no single pixels that went astray (Wedel et al. 2009).
        flow = _median3(_steps((seen[:, :1] - first) * known, gradient, flow, dual, steps))
    return flow


def _steps(change: Tensor, gradient: Tensor, flow: Tensor, dual: Tensor, steps: int) -> Tensor:
    """Minimize with brightness as a linear function of the flow; `dual` is kept up to date."""
    gx, gy = gradient[:, :1], gradient[:, 1:]
    scale = -1 / (gradient.square().sum(dim=1, keepdim=True) + 1e-3)
    offset = change - (gradient * flow).sum(dim=1, keepdim=True)
    most = ATTACHMENT * TIGHTNESS
    ascent = TIME_STEP / TIGHTNESS
    difference = torch.zeros_like(dual)
    for _ in range(steps):
        # Zach et al., eq. 9: the three cases are one step along the gradient, cut at both ends.
        residual = torch.addcmul(offset, gx, flow[:, :1]).addcmul_(gy, flow[:, 1:])
        flow = torch.addcmul(flow, residual.mul_(scale).clamp_(-most, most), gradient)
        divergence = dual[:, :, 0] + dual[:, :, 1]
        divergence[..., 1:] -= dual[:, :, 0, :, :-1]
        divergence[..., 1:, :] -= dual[:, :, 1, :-1, :]
        flow = flow.add_(divergence, alpha=TIGHTNESS)
        # eq. 11; the last column and row of the differences stay zero
        torch.sub(flow[..., 1:], flow[..., :-1], out=difference[:, :, 0, :, :-1])
        torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=difference[:, :, 1, :-1, :])
        length = torch.hypot(difference[:, :, :1], difference[:, :, 1:])
        dual.add_(difference, alpha=ascent).div_(length.mul_(ascent).add_(1))
    return flow


def _gradient(x: Tensor) -> Tensor:
    """Central differences along x and y, (B, 1, H, W) -> (B, 2, H, W)."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    along_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    along_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip
"""Network that brings the median of nine to the middle (Smith 1996); ten times as fast as
sorting."""


def _median3(x: Tensor) -> Tensor:
    """Median of each channel over 3x3 pixels."""
    height, width = x.shape[-2:]
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    nine = [wide[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    for low, high in _EXCHANGES:
        nine[low], nine[high] = (
            torch.minimum(nine[low], nine[high]),
            torch.maximum(nine[low], nine[high]),
        )
    return nine[4]
