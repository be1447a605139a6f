"""Still photos under motion whose path is known at every pixel, seen by a simulated camera.

Two layers, the one in front with a soft mask, each follow a smooth field of paths. What is seen at
a pixel at time t is looked up at the pixel's own displacement, as the motion model takes it:
frame_t(x) = m(x + a t + b t²). With canonical order every layer moves in one half of the
directions, so that the frames are a function of the blurry image, which is the same both ways.

What the camera does besides averaging is `camera`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.bounds import check
from blurvid.config import Gamma
from blurvid.exposure import GAMMA, displacement, image_of, instants, light_of, sample
from blurvid.lab.camera import draw_gains, light_up, out_of_focus, shutter, uniform
from blurvid.lab.options import CameraOptions, MotionOptions

MARGIN = 0.7
"""Pixels around a simulated picture, from where it moves in, in longest paths."""
DARKEST = 1e-6
"""Least light, as the response has no slope at black."""
POWER = 1.5
"""Path = max_path * u**POWER, u uniform: short ones are the common ones."""
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
MOMENTS = 61
"""Moments of the exposure at which a shaking hand is pushed..."""
KEPT = (0.9, 0.985)
"""...and how much of its speed it keeps from each to the next."""
CALM = 0.4
"""Most of their own motion that layers have before a camera that shakes."""


@dataclass(frozen=True)
class Moved:
    """A batch of simulated exposures."""

    blurry: Tensor
    """y, (B, 3, H, W), RGB in [0, 1]; neither noise nor compression."""
    frames: Tensor
    """x[1..7], (B, 7, 3, H, W), RGB in [0, 1]."""
    path: Tensor
    """a and b of each pixel, (B, 4, H, W) as (x, y) [px]."""


@dataclass(frozen=True)
class _Field:
    """Displacements a t + b t² + c (t³ - t) of a layer; each (B, 2, H, W)."""

    a: Tensor
    b: Tensor
    c: Tensor

    def at(self, t: float, shift: Tensor) -> Tensor:
        path = displacement(torch.cat([self.a, self.b], dim=1), t) + self.c * (t**3 - t)
        return path + shift


def draw_gammas(b: int, options: MotionOptions, g: torch.Generator) -> Tensor:
    """Draw camera responses, (B, 1, 1, 1): 2.2 for half of the samples, else from the range."""
    drawn = uniform(*options.gammas, b, 1, 1, 1, g=g)
    usual = torch.rand(drawn.shape, generator=g, device=g.device) < 0.5
    return torch.where(usual, GAMMA, drawn)


def average(frames: Tensor, gamma: Tensor) -> Tensor:
    """Average frames (B, T, 3, H, W) in light, each sample in its own response, (B, 3, H, W)."""
    light = frames.clamp(min=DARKEST) ** gamma.unsqueeze(1)
    return light.mean(dim=1).clamp(DARKEST, 1) ** (1 / gamma)


def margin(options: MotionOptions) -> int:
    """Pixels that layers have around the simulated picture on each side."""
    return math.ceil(MARGIN * options.max_path) + 1


def soft_masks(b: int, size: tuple[int, int], g: torch.Generator) -> Tensor:
    """Draw soft blobs, (B, 1, H, W) in [0, 1]."""
    cells = int(torch.randint(3, 9, (1,), generator=g, device=g.device))
    cell = min(size) / cells
    rows, columns = (max(2, round(side / cell)) for side in size)
    noise = torch.randn(b, 1, rows, columns, generator=g, device=g.device)
    noise = F.interpolate(noise, size, mode="bicubic", align_corners=False)
    soft = uniform(0.7, 2.5, b, 1, 1, 1, g=g)  # width of the edge [px]
    cover = uniform(-0.2, 0.7, b, 1, 1, 1, g=g)
    return torch.sigmoid((noise - cover) * cell / soft)


def _light(image: Tensor, gamma: Gamma | Tensor) -> Tensor:
    return (
        image.clamp(min=DARKEST) ** gamma if isinstance(gamma, Tensor) else light_of(image, gamma)
    )


def _image(light: Tensor, gamma: Gamma | Tensor) -> Tensor:
    if isinstance(gamma, Tensor):
        return light.clamp(DARKEST, 1) ** (1 / gamma)
    return image_of(light.clamp(max=1), gamma)


@torch.no_grad()
def simulate(
    layers: Tensor,
    options: MotionOptions,
    camera: CameraOptions,
    generator: torch.Generator,
    gamma: Gamma | None = None,
) -> Moved:
    """Move two layers of still photos during an exposure.

    Before a camera that shakes, the middle frame is where the picture is in the mean, which its
    blur tells, not where it is at that instant, which it does not. Its `path` is the nearest.

    Args:
        layers: the one behind and the one in front, (B, 2, 3, H, W), RGB in [0, 1], with
            `margin` around the picture.
        options: the motion.
        camera: its shutter, lights and defocus; noise and compression are `develop`'s.
        generator: source of randomness, on the device of the layers.
        gamma: camera response of all samples; None draws one for each.

    Returns:
        Exposures without the margin.

    Raises:
        OptionError: motion that cannot be simulated.
    """
    check(options)
    g, b, size = generator, len(layers), (layers.shape[-2], layers.shape[-1])
    shakes, calm = options.shaken > 0, torch.ones(b, 1, 1, 1, device=g.device)
    if shakes:
        shaken = uniform(0, 1, b, 1, 1, 1, g=g) < options.shaken
        calm = torch.where(shaken, uniform(0, CALM, b, 1, 1, 1, g=g), calm)
    fields = [_draw_field(b, size, options, g, calm) for _ in range(2)]
    mask = soft_masks(b, size, g)
    mask = mask * (uniform(0, 1, b, 1, 1, 1, g=g) < options.covered)
    layers = out_of_focus(layers, camera, g)
    response = draw_gammas(b, options, g) if gamma is None else gamma
    each = response.unsqueeze(1) if isinstance(response, Tensor) else response
    behind, front = light_up(layers, _light(layers, each), draw_gains(b, camera, g)).unbind(1)
    weight = shutter(b, options.sub_frames, camera, g)
    rim = margin(options)
    inner = (..., slice(rim, size[0] - rim), slice(rim, size[1] - rim))
    times, rest = instants(weight.shape[1]), torch.zeros(b, 2, 1, 1, device=g.device)
    shifts = [rest] * len(times)
    if shakes:
        shifts = list(torch.where(shaken.unsqueeze(1), _shake(weight, options, g), 0).unbind(1))

    def look(t: float, shift: Tensor) -> Tensor:
        over = fields[1].at(t, shift)
        under = sample(behind, fields[0].at(t, shift))[inner]
        return torch.lerp(under, sample(front, over)[inner], sample(mask, over)[inner])

    total, frames = torch.zeros_like(behind[inner]), []
    for i, (t, shift) in enumerate(zip(times, shifts, strict=True)):
        seen = look(t, shift)
        total += seen * weight[:, i].view(-1, 1, 1, 1)
        if i % options.sub_frames == options.sub_frames // 2:
            middle = shakes and i == len(times) // 2
            frames.append(_image(look(t, rest) if middle else seen, response))
    paths = [torch.cat([field.a, field.b], dim=1) for field in fields]
    path = torch.where(mask > 0.5, paths[1], paths[0])
    if shakes:
        path = path + _nearest(torch.stack(shifts, 1), times)
    return Moved(_image(total, response), torch.stack(frames, dim=1), path[inner].contiguous())


def _shake(weight: Tensor, options: MotionOptions, g: torch.Generator) -> Tensor:
    """Draw the path of hands that shake, (B, T, 2, 1, 1) [px], 0 in the mean.

    Args:
        weight: of each instant, (B, T).
        options: the longest path; a shake is at most half as wide.
        g: source of randomness.
    """
    b, count = weight.shape
    kept = uniform(*KEPT, b, 1, g=g)
    pushes = torch.randn(MOMENTS, b, 2, generator=g, device=g.device)
    speed, path = pushes[0], [torch.zeros_like(pushes[0])]
    for push in pushes[1:]:
        speed = kept * speed + (1 - kept**2).sqrt() * push
        path.append(path[-1] + speed)
    whole = torch.stack(path, dim=2)  # (B, 2, moments)
    seen = F.interpolate(whole, count, mode="linear", align_corners=True).transpose(1, 2)
    seen = seen - (seen * weight.unsqueeze(2)).sum(dim=1, keepdim=True)
    width = torch.cdist(seen, seen).amax((1, 2)).clamp(min=1e-6)
    scale = options.max_path / 2 * uniform(0, 1, b, g=g) / width
    return (seen * scale.view(-1, 1, 1))[..., None, None]


def _nearest(shifts: Tensor, times: Sequence[float]) -> Tensor:
    """Fit a t + b t² to shifts, (B, T, 2, 1, 1) -> (B, 4, 1, 1) [px]."""
    t = torch.tensor(times, device=shifts.device)
    fit: Tensor = torch.linalg.pinv(torch.stack([t, t**2], dim=1)) @ shifts[..., 0, 0]
    return fit.flatten(1)[..., None, None]


def _draw_field(
    b: int, size: tuple[int, int], options: MotionOptions, g: torch.Generator, calm: Tensor
) -> _Field:
    """Draw the displacements of a layer: a shift that may bend, turn, zoom and be uneven."""
    shape = (b, 1, 1, 1)

    def some(share: float) -> Tensor:
        return uniform(0, 1, *shape, g=g) < share

    moves = ~some(options.still)
    reach = options.max_path / 2 * uniform(0, 1, *shape, g=g) ** POWER * moves
    half = math.pi / (1 if options.order == "random" else 2)
    angle = math.pi + uniform(-half, half, *shape, g=g)  # looked up where it comes from
    along = reach * torch.cat([angle.cos(), angle.sin()], dim=1)
    across = torch.cat([-along[:, 1:], along[:, :1]], dim=1)

    def within(most: float) -> Tensor:
        return uniform(-most, most, *shape, g=g)

    rows, columns = (torch.arange(n, device=g.device) - (n - 1) / 2 for n in size)
    place = torch.stack([columns.expand(size), rows[:, None].expand(size)])[None]
    turned = torch.stack([-place[:, 1], place[:, 0]], dim=1)
    noise = torch.randn(b, 1, CELLS, CELLS, generator=g, device=g.device)
    uneven = F.interpolate(noise, size, mode="bicubic", align_corners=False)
    even = 1 + UNEVEN * uneven.clamp(-1.5, 1.5) * some(UNEVEN_SHARE)
    turn = within(TURN) * some(TURNING) * moves
    zoom = within(ZOOM) * some(ZOOMING) * moves
    a = along * even + turn * turned + zoom * place
    bend = across * within(BEND) * uniform(0, 1, *shape, g=g) + along * within(HASTE)
    swing = across * within(SWING) + along * within(SWING)
    return _Field(a * calm, bend * even * calm, swing * even * calm)
