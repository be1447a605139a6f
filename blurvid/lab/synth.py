"""Still photos under motion whose path is known at every pixel, seen by a simulated camera.

Two layers, the one in front with a soft mask, each follow a smooth field of paths. What is seen at
a pixel at time t is looked up at the pixel's own displacement, as the motion model takes it:
frame_t(x) = m(x + a t + b t²). With canonical order every layer moves in one half of the
directions, so that the frames are a function of the blurry image, which is the same both ways.

The camera does more than average: shutter, saturation, defocus, noise, compression.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from blurvid.bounds import check
from blurvid.config import FRAMES, Gamma
from blurvid.exposure import GAMMA, displacement, image_of, instants, light_of, sample
from blurvid.lab.options import CameraOptions, MotionOptions

IDEAL = CameraOptions(shuttered=0.0, lights=0.0, defocused=0.0, noise=(0.0, 0.0), compressed=0.0)
"""A camera that only averages."""
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
LIGHT_FLOOR = 0.85
"""Encoded value above which a pixel is taken for a light that the photo has clipped."""
SHARPENED = (0.2, 1.0)
"""Strength of the sharpening of cameras..."""
WIDTHS = (0.7, 1.5)
"""...and standard deviation of what it is against [px]."""
CONTRAST = (-0.25, 0.6)
"""How much steeper tone curves are in the middle..."""
BRIGHTER = (-0.15, 0.25)
"""...and by how much brighter they make it, four times."""
DARK = 0.15
"""Encoded value whose shot noise black has from the sensor itself."""


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


def uniform(low: float, high: float, *shape: int, g: torch.Generator) -> Tensor:
    """Draw numbers evenly between two, on the generator's device."""
    return low + (high - low) * torch.rand(*shape, generator=g, device=g.device)


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


def shutter(b: int, sub_frames: int, options: CameraOptions, g: torch.Generator) -> Tensor:
    """Draw how much light each instant gives.

    An open shutter sees every instant. A shuttered one is closed between frames, so that only
    the middle instant of each frame counts, as where data sets average the frames of a video.

    Args:
        b: samples.
        sub_frames: instants of a frame.
        options: the camera.
        g: source of randomness.

    Returns:
        Weights that add up to 1, (B, 7·sub_frames).
    """
    middle = torch.arange(FRAMES * sub_frames, device=g.device) % sub_frames == sub_frames // 2
    closed = torch.rand(b, 1, generator=g, device=g.device) < options.shuttered
    weight = torch.where(closed, middle, True).float()
    return weight / weight.sum(dim=1, keepdim=True)


def draw_gains(b: int, options: CameraOptions, g: torch.Generator) -> Tensor:
    """Draw how much brighter than white the lights of each sample are, (B,); 0 for most."""
    draw = torch.rand(2, b, generator=g, device=g.device)
    return (draw[0] < options.lights) * draw[1] * options.gain


def light_up(image: Tensor, light: Tensor, gain: Tensor) -> Tensor:
    """Give back to clipped lights what the photo does not show of them.

    Args:
        image: encoded values, (B, T, 3, H, W) in [0, 1].
        light: the same in light.
        gain: of white, (B,).

    Returns:
        Light, above 1 where the sensor saturates.
    """
    white = image.amin(dim=2, keepdim=True)
    bright = ((white - LIGHT_FLOOR) / (1 - LIGHT_FLOOR)).clamp(0, 1).square()
    return light * (1 + gain[:, None, None, None, None] * bright)


def defocus(layers: Tensor, sigma: Tensor) -> Tensor:
    """Blur images by a Gaussian each.

    Args:
        layers: (N, C, H, W).
        sigma: standard deviations [px], (N,); 0 leaves a layer as it is.
    """
    reach = math.ceil(3 * float(sigma.max()))
    if reach < 1:
        return layers
    n, c, h, w = layers.shape
    at = torch.arange(-reach, reach + 1, device=layers.device)
    kernel = torch.exp(-0.5 * (at / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(c, dim=0)
    out = layers.reshape(1, n * c, h, w)
    for size, pad in (((1, -1), (reach, reach, 0, 0)), ((-1, 1), (0, 0, reach, reach))):
        padded = F.pad(out, pad, mode="replicate")
        out = F.conv2d(padded, kernel.reshape(n * c, 1, *size), groups=n * c)
    return out.reshape(n, c, h, w)


def out_of_focus(layers: Tensor, options: CameraOptions, g: torch.Generator) -> Tensor:
    """Put some layers out of focus.

    Args:
        layers: (B, K, 3, H, W).
        options: the share of them, and how far.
        g: source of randomness, on the device of the layers.
    """
    if not options.defocused:
        return layers
    flat = layers.flatten(0, 1).clone()
    draw = torch.rand(2, len(flat), generator=g, device=layers.device)
    mine = (draw[0] < options.defocused).nonzero().flatten()
    if len(mine):
        flat[mine] = defocus(flat[mine], draw[1, mine] * options.max_defocus)
    return flat.view_as(layers)


def finish(
    y: Tensor, x: Tensor, options: CameraOptions, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sharpen some samples and give some a tone curve, as cameras do, blurred or not.

    Args:
        y: blurry images, (B, 3, H, W), RGB in [0, 1].
        x: frames, (B, T, 3, H, W), likewise.
        options: the shares of them.
        g: source of randomness, on the device of y.

    Returns:
        Both, in [0, 1].
    """
    if not options.sharpened and not options.toned:
        return y, x
    both = torch.cat([y.unsqueeze(1), x], dim=1)
    b, shape = len(y), (len(y), 1, 1, 1, 1)
    for share, change in ((options.sharpened, _sharpen), (options.toned, _tone)):
        if share:
            chosen = uniform(0, 1, *shape, g=g) < share
            both = torch.where(chosen, change(both, uniform(0, 1, 2, b, g=g)), both).clamp(0, 1)
    return both[:, 0], both[:, 1:]


def _sharpen(images: Tensor, draw: Tensor) -> Tensor:
    """Unsharp masks, (B, T, 3, H, W), of strengths and widths by two draws in [0, 1], (2, B)."""
    strength = SHARPENED[0] + (SHARPENED[1] - SHARPENED[0]) * draw[0].view(-1, 1, 1, 1, 1)
    sigma = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * draw[1]
    count = images.shape[1]
    soft = defocus(images.flatten(0, 1), sigma.repeat_interleave(count)).view_as(images)
    return images + strength * (images - soft)


def _tone(images: Tensor, draw: Tensor) -> Tensor:
    """Tone curves that keep black and white, steeper in the middle, and brighter or darker."""
    steep, bright = (
        (low + (high - low) * one).view(-1, 1, 1, 1, 1)
        for (low, high), one in zip((CONTRAST, BRIGHTER), draw, strict=True)
    )
    curve: Tensor = images * (1 - images) * (steep * (2 * images - 1) + bright)
    return images + curve


def develop(y: Tensor, options: CameraOptions, g: torch.Generator) -> Tensor:
    """Add what happens to a photo between sensor and file: noise, compression, 8 bits.

    Args:
        y: blurry images, (B, 3, H, W), RGB in [0, 1].
        options: how much of it.
        g: source of randomness, on the device of y.

    Returns:
        The images, in [0, 1].
    """
    b = len(y)
    low, high = options.noise
    if high:
        sigma = low + (high - low) * torch.rand(b, 1, 1, 1, generator=g, device=y.device)
        noise = torch.randn(y.shape, generator=g, device=y.device)
        if options.noisy < 1:
            sigma = sigma * (torch.rand(sigma.shape, generator=g, device=y.device) < options.noisy)
        if options.grain:
            coarse = torch.rand(sigma.shape, generator=g, device=y.device) < options.grain
            noise = torch.where(coarse, _grain(noise), noise)
        if options.shot:
            sigma = sigma * (y + DARK).sqrt()
        y = (y + sigma * noise).clamp(0, 1)
    chosen = torch.rand(b, generator=g, device=y.device) < options.compressed
    mine = chosen.nonzero().flatten()
    if len(mine):
        worst, best = options.quality
        draw = torch.rand(len(mine), generator=g, device=y.device)
        row, column = torch.randint(16, (2,), generator=g, device=y.device).tolist()
        y = y.clone()
        y[mine] = jpeg(y[mine], worst + (best - worst) * draw, (row, column))
    return y


def _grain(noise: Tensor) -> Tensor:
    """White noise made coarse: averaged over 3x3 pixels, two thirds as strong."""
    return F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="replicate"), 3, 1) * 2


def jpeg(images: Tensor, quality: Tensor, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Compress as a JPEG file (baseline, 4:2:0) and decompress.

    Args:
        images: (B, 3, H, W), RGB in [0, 1].
        quality: of each image, 1 to 100 as libjpeg counts it, (B,).
        offset: where the grid of blocks begins, up to 15 px above and left of the image.

    Returns:
        The decompressed images, in [0, 1].
    """
    top, left = offset
    padded = F.pad(images, (left, 0, top, 0), mode="replicate")
    levels = padded.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    found = []
    for pixels, share in zip(levels, quality.round().int().tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=share, subsampling="4:2:0")
        with Image.open(file) as image:
            found.append(np.asarray(image))
    seen = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)[..., top:, left:]
    return seen.to(images) / 255
