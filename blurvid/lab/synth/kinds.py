"""Kinds of blur other than the average of frames, each made of one sharp image.

A deblurrer that learned one kind may fail on another. Every path is at its origin in the middle of
the exposure, so that the sharp image is the middle frame of what is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.blur import to_image, to_light
from blurvid.config import Gamma
from blurvid.errors import OptionError
from blurvid.lab.options import KindOptions
from blurvid.lab.synth.camera import defocus

INSTANTS = 33
"""Instants of a camera's rotation; odd, the middle one is at rest."""
WALK = 65
"""Steps of a random walk; odd."""
INERTIA = 0.85
"""Share of its velocity that a random walk keeps from step to step."""
SWAYS = 3
"""Sinusoids that a hand's rotation is made of, besides its drift."""


def check_kinds(options: KindOptions) -> None:
    """Refuse kinds that cannot be made.

    Raises:
        OptionError: an option is out of range; the message names it.
    """
    shares = [options.average, *(getattr(options, kind) for kind in KINDS)]
    wrong = {
        "shares of kinds must be finite and not negative, and one above 0": not all(
            math.isfinite(share) and share >= 0 for share in shares
        )
        or not sum(shares) > 0,
        "walk, turn and sigma must be two numbers from 0 upwards, the smaller first": not all(
            0 <= low <= high and math.isfinite(high)
            for low, high in (options.walk, options.turn, options.sigma)
        ),
    }
    for text, found in wrong.items():
        if found:
            raise OptionError(text)


def reach(options: KindOptions) -> int:
    """How far from a pixel lies what may end up in it [px], for all kinds."""
    # The middle of the exposure need not be that of the path.
    return math.ceil(max(options.walk[1], options.turn[1], 3 * options.sigma[1]))


def walk_kernels(lengths: Tensor, g: torch.Generator) -> Tensor:
    """Draw kernels along random walks, as a shaken camera gives far away.

    Args:
        lengths: of the paths [px], (N,).
        g: source of randomness, on the device of the lengths.

    Returns:
        (N, K, K), K odd; each adds up to 1. The middle of the walk lies at the centre.
    """
    n = len(lengths)
    push = torch.randn(WALK - 1, n, 2, generator=g, device=g.device)
    velocity, steps = torch.randn(n, 2, generator=g, device=g.device), []
    for kick in push:
        velocity = INERTIA * velocity + math.sqrt(1 - INERTIA**2) * kick
        steps.append(velocity)
    path = F.pad(torch.stack(steps, dim=1).cumsum(dim=1), (0, 0, 1, 0))  # (N, WALK, 2)
    path = path - path[:, WALK // 2 : WALK // 2 + 1]
    travelled = path.diff(dim=1).norm(dim=-1).sum(dim=1).clamp(min=1e-6)
    path = path * (lengths / travelled)[:, None, None]
    side = 2 * math.ceil(float(path.abs().max())) + 3
    at = path + side // 2
    corner = at.floor()
    rest = at - corner
    kernel = torch.zeros(n, side * side, device=lengths.device)
    for down in (0, 1):
        for right in (0, 1):
            share = (rest[..., 0] if right else 1 - rest[..., 0]) * (
                rest[..., 1] if down else 1 - rest[..., 1]
            )
            index = (corner[..., 1] + down) * side + corner[..., 0] + right
            kernel.scatter_add_(1, index.long(), share)
    return (kernel / WALK).view(n, side, side)


def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image with a kernel of its own, mirrored at the border.

    Args:
        images: (N, 3, H, W).
        kernels: (N, K, K), K odd.
    """
    n, c, h, w = images.shape
    padded = _mirrored(images, kernels.shape[-1] // 2)
    weight = kernels.flip(-2, -1).repeat_interleave(c, dim=0).unsqueeze(1)
    flat = padded.reshape(1, n * c, *padded.shape[-2:])
    return F.conv2d(flat, weight, groups=n * c).view(n, c, h, w)


def _mirrored(images: Tensor, margin: int) -> Tensor:
    """Pad by reflection, as often as small images need it."""
    while margin:
        some = min(margin, *(side - 1 for side in images.shape[-2:]))
        mode = "reflect" if some > 0 else "replicate"
        some = some or margin
        images = F.pad(images, (some,) * 4, mode=mode)
        margin -= some
    return images


def rotations(lengths: Tensor, g: torch.Generator) -> Tensor:
    """Draw how a hand turns a camera, as paths of its optical axis and its roll.

    Args:
        lengths: about how far the image's centre travels [px], (N,).
        g: source of randomness, on the device of the lengths.

    Returns:
        (N, INSTANTS, 3): yaw, pitch and roll, as what they move a pixel by [px]: the first two
        anywhere, the last one at the corners of the image. All 0 at the middle instant.
    """
    n = len(lengths)
    t = torch.linspace(-1, 1, INSTANTS, device=lengths.device)
    drift = torch.randn(n, 1, 3, generator=g, device=g.device) * t[:, None]
    pitch = 1 + 5 * torch.rand(n, SWAYS, 1, 3, generator=g, device=g.device)
    phase = 2 * math.pi * torch.rand(n, SWAYS, 1, 3, generator=g, device=g.device)
    size = torch.randn(n, SWAYS, 1, 3, generator=g, device=g.device) / pitch
    path = drift + (size * torch.sin(pitch * t[:, None] + phase)).sum(dim=1)
    path = path - path[:, INSTANTS // 2 : INSTANTS // 2 + 1]
    path[..., 2] *= 0.7
    travelled = path.diff(dim=1).norm(dim=-1).sum(dim=1).clamp(min=1e-6)
    scaled: Tensor = path * (lengths / travelled)[:, None, None]
    return scaled


def turn(images: Tensor, paths: Tensor, gamma: Gamma) -> Tensor:
    """Expose images while the camera turns: the average over homographies K R K⁻¹.

    Args:
        images: (N, 3, H, W), RGB in [0, 1].
        paths: from `rotations`.
        gamma: camera response in which the light adds up.

    Returns:
        The blurry images, same shape.
    """
    h, w = images.shape[-2:]
    light = to_light(images, gamma)
    focal = float(max(h, w))  # a field of view of 53 degrees
    radius = math.hypot(h, w) / 2
    y, x = torch.meshgrid(
        torch.arange(h, device=images.device) - (h - 1) / 2,
        torch.arange(w, device=images.device) - (w - 1) / 2,
        indexing="ij",
    )
    rays = torch.stack([x, y, torch.full_like(x, focal)], dim=-1)  # (H, W, 3)
    total = torch.zeros_like(light)
    for instant in range(paths.shape[1]):
        yaw, pitch, roll = paths[:, instant].unbind(-1)
        rotation = _rotation(yaw / focal, pitch / focal, roll / radius)
        turned = torch.einsum("nij,hwj->nhwi", rotation, rays)
        at = turned[..., :2] * (focal / turned[..., 2:])
        grid = torch.stack([at[..., 0] * (2 / w), at[..., 1] * (2 / h)], dim=-1)
        total += F.grid_sample(light, grid, padding_mode="reflection", align_corners=False)
    return to_image((total / paths.shape[1]).clamp(0, 1), gamma)


def _rotation(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Rotation by a vector of angles [rad] (Rodrigues' formula), (N, 3, 3)."""
    zero = torch.zeros_like(yaw)
    rows = [zero, -roll, yaw, roll, zero, -pitch, -yaw, pitch, zero]
    found: Tensor = torch.linalg.matrix_exp(torch.stack(rows, dim=-1).view(-1, 3, 3))
    return found


def _between(n: int, bounds: tuple[float, float], g: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(n, generator=g, device=g.device)


def _kernel(x: Tensor, options: KindOptions, gamma: Gamma, g: torch.Generator) -> Tensor:
    kernels = walk_kernels(_between(len(x), options.walk, g), g)
    return to_image(convolve(to_light(x, gamma), kernels).clamp(0, 1), gamma)


def _rotating(x: Tensor, options: KindOptions, gamma: Gamma, g: torch.Generator) -> Tensor:
    return turn(x, rotations(_between(len(x), options.turn, g), g), gamma)


def _gaussian(x: Tensor, options: KindOptions, gamma: Gamma, g: torch.Generator) -> Tensor:
    return to_image(defocus(to_light(x, gamma), _between(len(x), options.sigma, g)), gamma)


def _sharp(x: Tensor, options: KindOptions, gamma: Gamma, g: torch.Generator) -> Tensor:
    return x


Blur = Callable[[Tensor, KindOptions, Gamma, torch.Generator], Tensor]
KINDS: dict[str, Blur] = {
    "kernel": _kernel,
    "rotation": _rotating,
    "gaussian": _gaussian,
    "sharp": _sharp,
}
"""Kinds by the names of their shares in `KindOptions`; `average` is made of frames, elsewhere."""


@torch.no_grad()
def blur(x: Tensor, kind: str, options: KindOptions, gamma: Gamma, g: torch.Generator) -> Tensor:
    """Blur sharp images, each in a way of its own.

    Args:
        x: middle frames, (N, 3, H, W), RGB in [0, 1]. What lies beyond the border is taken for
            its mirror image; cut `reach` pixels off where that must not be seen.
        kind: one of `KINDS`.
        options: how strong each kind is.
        gamma: camera response in which light adds up.
        g: source of randomness, on the device of x.

    Returns:
        y, same shape.
    """
    return KINDS[kind](x, options, gamma, g)
