"""Smooth paths of layers during an exposure, and which way along them time runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from blurvid.lab.options import MotionOptions

BEND = 0.3
"""Largest sideways bow of a path, in path lengths."""
SHAKE = 0.06
"""Largest tremor, in path lengths."""
HASTE = 0.3
"""Largest change of speed over the exposure, in mean speeds."""


@dataclass(frozen=True)
class Poses:
    """Where each layer is at each instant; every field (B, K, T)."""

    shift_x: Tensor
    shift_y: Tensor
    angle: Tensor
    log_zoom: Tensor


def uniform(low: float, high: float, *shape: int, g: torch.Generator) -> Tensor:
    """Draw numbers evenly between two, on the generator's device."""
    return low + (high - low) * torch.rand(*shape, generator=g, device=g.device)


def draw_poses(b: int, k: int, t: Tensor, options: MotionOptions, g: torch.Generator) -> Poses:
    """Draw smooth paths for k layers of b samples at the instants t (T,) in [-1, 1]."""
    shape = (b, k, 1)
    length = options.max_path * uniform(0, 1, *shape, g=g) ** options.path_power
    moves = uniform(0, 1, *shape, g=g) >= options.still
    moves &= uniform(0, 1, b, 1, 1, g=g) >= options.still_samples
    length = length * moves
    theta = uniform(-math.pi / 2, math.pi / 2, *shape, g=g)
    haste = uniform(-HASTE, HASTE, *shape, g=g)
    bend = uniform(-1, 1, *shape, g=g).pow(3) * BEND
    tremor = uniform(0, SHAKE, *shape, g=g)
    pitch, phase = uniform(2, 6, *shape, g=g), uniform(0, 2 * math.pi, *shape, g=g)
    # (B, K, T), in path lengths: along the path and across it
    along = 0.5 * (t + haste * (t**2 - 1) / 2) + tremor * torch.sin(pitch * t + phase)
    across = bend * t**2 + tremor * torch.cos(pitch * t - phase)
    shift_x = length * (along * theta.cos() - across * theta.sin())
    shift_y = length * (along * theta.sin() + across * theta.cos())
    turns = moves & (uniform(0, 1, *shape, g=g) < options.turning)
    angle = turns * uniform(-1, 1, *shape, g=g) * math.radians(options.max_turn) / 2 * t
    zoom = turns * uniform(-1, 1, *shape, g=g) * options.max_zoom / 2 * t
    return Poses(shift_x, shift_y, angle, zoom)


def share_camera(poses: Poses, g: torch.Generator) -> tuple[Poses, Tensor]:
    """Let half of the samples move as one camera would: layers differ by parallax only.

    Returns:
        The poses, and which samples these are, (B, 1).
    """
    b, k, _ = poses.shift_x.shape
    camera = torch.rand(b, 1, 1, generator=g, device=g.device) < 0.5
    parallax = uniform(0.6, 1.0, b, k, 1, g=g)
    parallax[:, -1] = 1.0  # the layer in front moves most, so no path grows past max_path

    def share(x: Tensor, factor: Tensor | float) -> Tensor:
        return torch.where(camera, x[:, -1:] * factor, x)

    shared = Poses(
        share(poses.shift_x, parallax),
        share(poses.shift_y, parallax),
        share(poses.angle, 1.0),
        share(poses.log_zoom, 1.0),
    )
    return shared, camera[..., 0]


def canonical_sign(shift: Tensor, angle: Tensor, log_zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Tell whether a motion goes in the canonical direction (+1) or must be reversed (-1).

    Canonical is: to the right (down when exactly vertical); where turning or zooming moves
    pixels more than the shift does: clockwise, or growing.

    Args:
        shift: displacement from the first to the last instant, (..., 2) as (x, y) [px].
        angle: rotation, (...), clockwise on the screen [rad].
        log_zoom: log of the change of scale, (...).
        size: height and width of the image [px].

    Returns:
        +1 or -1, (...).
    """
    radius = math.hypot(*size) / 4  # about the mean distance of a pixel from the centre
    x, y = shift.unbind(-1)
    spin = torch.where(angle.abs() >= log_zoom.abs(), angle, log_zoom)
    drift = torch.where(x == 0, y, x)
    rule = torch.where(shift.norm(dim=-1) >= 0.5 * radius * spin.abs(), drift, spin)
    return torch.where(rule < 0, -1.0, 1.0)


def reversed_where(poses: Poses, mask: Tensor) -> Poses:
    """Turn time around for the layers in mask (B, K)."""
    return Poses(*(torch.where(mask[..., None], p.flip(-1), p) for p in vars(poses).values()))
