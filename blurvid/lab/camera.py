"""A simulated camera: shutter, saturation, defocus, sharpening, tone curves, noise, compression."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.lab.options import CameraOptions

IDEAL = CameraOptions(shuttered=0.0, lights=0.0, defocused=0.0, noise=(0.0, 0.0), compressed=0.0)
"""A camera that only averages."""
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


def uniform(low: float, high: float, *shape: int, g: torch.Generator) -> Tensor:
    """Draw numbers evenly between two, on the generator's device."""
    return low + (high - low) * torch.rand(*shape, generator=g, device=g.device)


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


def develop(
    y: Tensor, x: Tensor, options: CameraOptions, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add what happens to a photo between sensor and file: noise, compression, 8 bits.

    Args:
        y: blurry images, (B, 3, H, W), RGB in [0, 1].
        x: their frames, (B, T, 3, H, W), which keep the same noise or have none.
        options: how much of it.
        g: source of randomness, on the device of y.

    Returns:
        Both, in [0, 1].
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
        noise = sigma * noise
        y = (y + noise).clamp(0, 1)
        if options.noise_kept:
            x = (x + noise.unsqueeze(1)).clamp(0, 1)
    chosen = torch.rand(b, generator=g, device=y.device) < options.compressed
    mine = chosen.nonzero().flatten()
    if len(mine):
        worst, best = options.quality
        draw = torch.rand(len(mine), generator=g, device=y.device)
        row, column = torch.randint(16, (2,), generator=g, device=y.device).tolist()
        y = y.clone()
        y[mine] = jpeg(y[mine], worst + (best - worst) * draw, (row, column))
    return y, x


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
