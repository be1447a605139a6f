"""Still photos under motion whose path is known at every pixel.

Two layers, the one in front with a soft mask, each follow a smooth field of paths; unlike in
`motion`, what is seen at a pixel at time t is looked up at the pixel's own displacement, as the
motion model takes it: frame_t(x) = m(x + a t + b t²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.exposure import GAMMA, displacement, instants, sample
from blurvid.lab.options import CameraOptions, PathOptions
from blurvid.lab.synth.camera import draw_gains, light_up, out_of_focus, shutter
from blurvid.lab.synth.motion import soft_masks
from blurvid.lab.synth.poses import uniform

DARKEST = 1e-6
"""Least light, as the response has no slope at black."""
POWER = 1.5
"""Half displacement = reach * u**POWER, u uniform: short ones are the common ones."""
BEND = 0.35
"""Largest bend b across a path, in half displacements..."""
HASTE = 0.25
"""...and along it, which is a change of speed."""
SWING = 0.1
"""Largest cubic part, which is at rest at t = -1, 0 and 1 and in no path, likewise."""
TURN = 0.04
"""Largest rotation over half of the exposure [rad]..."""
TURNING = 0.5
"""...and share of the layers that turn."""
ZOOM = 0.03
"""Largest change of scale over half of the exposure..."""
ZOOMING = 0.3
"""...and share of the layers that zoom."""
UNEVEN = 0.3
"""How much displacements differ within a layer, standard deviation..."""
UNEVEN_SHARE = 0.5
"""...of those where they do."""
CELLS = 4
"""Places along each side where that is drawn."""


@dataclass(frozen=True)
class Moved:
    """A batch of simulated exposures."""

    blurry: Tensor
    """y, (B, 3, S, S), RGB in [0, 1]; neither noise nor compression."""
    frames: Tensor
    """x[1..7], (B, 7, 3, S, S), RGB in [0, 1]."""
    path: Tensor
    """a and b of each pixel, (B, 4, S, S) as (x, y) [px]."""


@dataclass(frozen=True)
class _Field:
    """Displacements a t + b t² + c (t³ - t) of a layer; each (B, 2, H, W)."""

    a: Tensor
    b: Tensor
    c: Tensor

    def at(self, t: float) -> Tensor:
        return displacement(torch.cat([self.a, self.b], dim=1), t) + self.c * (t**3 - t)


def draw_gammas(b: int, options: PathOptions, g: torch.Generator) -> Tensor:
    """Draw camera responses, (B, 1, 1, 1): 2.2 for half of the samples, else from the range."""
    drawn = uniform(*options.gammas, b, 1, 1, 1, g=g)
    usual = torch.rand(drawn.shape, generator=g, device=g.device) < 0.5
    return torch.where(usual, GAMMA, drawn)


def average(frames: Tensor, gamma: Tensor) -> Tensor:
    """Average frames (B, T, 3, H, W) in light, each sample in its own response, (B, 3, H, W)."""
    light = frames.clamp(min=DARKEST) ** gamma.unsqueeze(1)
    return light.mean(dim=1).clamp(DARKEST, 1) ** (1 / gamma)


@torch.no_grad()
def simulate_paths(
    layers: Tensor, options: PathOptions, camera: CameraOptions, generator: torch.Generator
) -> Moved:
    """Move two layers of still photos during an exposure.

    Args:
        layers: the one behind and the one in front, (B, 2, 3, H, H), RGB in [0, 1], with
            `options.margin` around the picture.
        options: the motion.
        camera: its shutter, lights and defocus; noise and compression are `develop`'s.
        generator: source of randomness, on the device of the layers.

    Returns:
        Exposures without the margin.
    """
    g, b, side = generator, len(layers), layers.shape[-1]
    fields = [_draw_field(b, side, options, g) for _ in range(2)]
    mask = soft_masks(b, 1, (side, side), g)
    mask = mask * (uniform(0, 1, b, 1, 1, 1, g=g) < options.covered)
    layers = out_of_focus(layers, camera, g)
    gamma = draw_gammas(b, options, g)
    light = layers.clamp(min=DARKEST) ** gamma.unsqueeze(1)
    behind, front = light_up(layers, light, draw_gains(b, camera, g)).unbind(1)
    weight = shutter(b, options.sub_frames, camera, g)
    rim = options.margin
    inner = (..., slice(rim, side - rim), slice(rim, side - rim))
    total, frames = torch.zeros_like(behind[inner]), []
    times = instants(weight.shape[1])
    for i, t in enumerate(times):
        over = fields[1].at(t)
        cover = sample(mask, over)[inner]
        seen = torch.lerp(sample(behind, fields[0].at(t))[inner], sample(front, over)[inner], cover)
        total += seen * weight[:, i].view(-1, 1, 1, 1)
        if i % options.sub_frames == options.sub_frames // 2:
            frames.append(seen.clamp(DARKEST, 1) ** (1 / gamma))
    paths = [torch.cat([field.a, field.b], dim=1) for field in fields]
    path = torch.where(mask > 0.5, paths[1], paths[0])
    y = total.clamp(DARKEST, 1) ** (1 / gamma)
    return Moved(y, torch.stack(frames, dim=1), path[inner].contiguous())


def _draw_field(b: int, side: int, options: PathOptions, g: torch.Generator) -> _Field:
    """Draw the displacements of a layer: a shift that may bend, turn, zoom and be uneven."""
    shape = (b, 1, 1, 1)

    def some(share: float) -> Tensor:
        return uniform(0, 1, *shape, g=g) < share

    moves = ~some(options.still)
    reach = options.reach * uniform(0, 1, *shape, g=g) ** POWER * moves
    angle = uniform(-math.pi, math.pi, *shape, g=g)
    along = reach * torch.cat([angle.cos(), angle.sin()], dim=1)
    across = torch.cat([-along[:, 1:], along[:, :1]], dim=1)

    def within(most: float) -> Tensor:
        return uniform(-most, most, *shape, g=g)

    x = torch.arange(side, device=g.device) - (side - 1) / 2
    place = torch.stack([x.expand(side, side), x[:, None].expand(side, side)])[None]
    turned = torch.stack([-place[:, 1], place[:, 0]], dim=1)
    noise = torch.randn(b, 1, CELLS, CELLS, generator=g, device=g.device)
    uneven = F.interpolate(noise, (side, side), mode="bicubic", align_corners=False)
    even = 1 + UNEVEN * uneven.clamp(-1.5, 1.5) * some(UNEVEN_SHARE)
    turn = within(TURN) * some(TURNING) * moves
    zoom = within(ZOOM) * some(ZOOMING) * moves
    a = along * even + turn * turned + zoom * place
    bend = across * within(BEND) * uniform(0, 1, *shape, g=g) + along * within(HASTE)
    swing = across * within(SWING) + along * within(SWING)
    return _Field(a, bend * even, swing * even)
