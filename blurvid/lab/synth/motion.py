"""Simulated motion: what a camera would have seen had a photo's layers moved during exposure.

Each sample is a background and some foreground layers with soft masks. Every layer follows a
smooth path (translation that bends, speeds up and shakes, rotation, zoom); the instants are
rendered densely, and the blurry image is their average in light. With canonical order every
layer moves in one half of the directions, so that the seven frames are a function of the
blurry image: a rigid layer gives the same blur both ways, and only one way is ever shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.blur import to_image, to_light
from blurvid.config import FRAMES, Gamma
from blurvid.errors import OptionError
from blurvid.lab.options import CameraOptions, MotionOptions
from blurvid.lab.synth.camera import draw_gains, light_up, out_of_focus, shutter
from blurvid.lab.synth.poses import (
    BEND,
    HASTE,
    SHAKE,
    Poses,
    canonical_sign,
    draw_poses,
    reversed_where,
    share_camera,
    uniform,
)

IDEAL = CameraOptions(shuttered=0.0, lights=0.0, defocused=0.0, noise=(0.0, 0.0), compressed=0.0)
"""A camera that only averages."""
PIXELS_AT_ONCE = 2**22
"""Pixels rendered in one piece; whole photos are rendered an instant or a few at a time."""


@dataclass(frozen=True)
class Rendered:
    """A batch of simulated exposures."""

    blurry: Tensor
    """y, (B, 3, H, W), RGB in [0, 1]."""
    frames: Tensor
    """x[1..7], (B, 7, 3, H, W), RGB in [0, 1]."""
    paths: Tensor
    """Displacement of each layer's centre from first to last instant, (B, K, 2) as (x, y) [px];
    also of layers that a sample happens not to have."""


def check_motion(options: MotionOptions) -> None:
    """Refuse motion that cannot be simulated.

    Raises:
        OptionError: an option is out of range; the message names it.
    """
    numbers = (
        options.max_path, options.path_power, options.max_turn, options.max_zoom,
        *options.source_scale,
    )  # fmt: skip
    shares = [share for _, share in options.gammas]
    wrong = {
        f"sub_frames must be odd, not {options.sub_frames}": options.sub_frames < 1
        or options.sub_frames % 2 == 0,
        "motion needs at least one layer": options.layers < 1,
        "paths, turns and scales must be finite and not negative": not all(
            math.isfinite(number) and number >= 0 for number in numbers
        ),
        "source_scale must be from 1 upwards": options.source_scale[0] < 1
        or options.source_scale[1] < options.source_scale[0],
        "still, still_samples and turning must be from 0 to 1": not all(
            0 <= share <= 1 for share in (options.still, options.still_samples, options.turning)
        ),
        "gammas need shares above 0": not shares or min(shares) <= 0,
    }
    for text, found in wrong.items():
        if found:
            raise OptionError(text)


def margin(size: tuple[int, int], options: MotionOptions) -> int:
    """Pixels that sources must have around the rendered image so that no border shows.

    Args:
        size: height and width of the rendered image [px].
        options: the motion.
    """
    travel = options.max_path * (0.5 * (1 + HASTE) + BEND + SHAKE)
    radius = math.hypot(*size) / 2
    turn = radius * (math.radians(options.max_turn) + options.max_zoom) / 2
    return math.ceil(travel + turn) + 1


def soft_masks(b: int, k: int, size: tuple[int, int], g: torch.Generator) -> Tensor:
    """Draw soft blobs, (B, K, H, W) in [0, 1]."""
    cells = int(torch.randint(3, 9, (1,), generator=g, device=g.device))
    cell = min(size) / cells
    rows, columns = (max(2, round(side / cell)) for side in size)
    noise = torch.randn(b * k, 1, rows, columns, generator=g, device=g.device)
    noise = F.interpolate(noise, size, mode="bicubic", align_corners=False)
    soft = uniform(0.7, 2.5, b * k, 1, 1, 1, g=g)  # width of the edge [px]
    cover = uniform(-0.2, 0.7, b * k, 1, 1, 1, g=g)
    return torch.sigmoid((noise - cover) * cell / soft).reshape(b, k, *size)


def _sample(layer: Tensor, poses: Poses, index: int, size: tuple[int, int], s: float) -> Tensor:
    """Look at one layer through its poses.

    Args:
        layer: (B, C, H', W').
        poses: where it is.
        index: which layer it is.
        size: height and width of the rendered image [px].
        s: source pixels per rendered pixel.

    Returns:
        (B, C, T, H, W).
    """
    h, w = size
    b, c, rows, columns = layer.shape
    y, x = torch.meshgrid(
        torch.arange(h, device=layer.device) - (h - 1) / 2,
        torch.arange(w, device=layer.device) - (w - 1) / 2,
        indexing="ij",
    )
    # Content moves by +shift and turns by +angle, so the sampling grid does the opposite.
    angle, zoom = -poses.angle[:, index], torch.exp(-poses.log_zoom[:, index])
    cos, sin = ((zoom * f(angle))[..., None, None] for f in (torch.cos, torch.sin))  # (B, T, 1, 1)
    x = x - poses.shift_x[:, index, :, None, None]  # (B, T, H, W)
    y = y - poses.shift_y[:, index, :, None, None]
    grid = torch.stack(
        [(cos * x - sin * y) * (2 * s / columns), (sin * x + cos * y) * (2 * s / rows)], dim=-1
    )
    t = grid.shape[1]
    # The instants stand below each other in one tall image, so that no source is copied.
    grid = grid.reshape(b, t * h, w, 2)
    out = F.grid_sample(layer, grid, padding_mode="reflection", align_corners=False)
    return out.reshape(b, c, t, h, w)


def _draw_gammas(
    b: int, gammas: tuple[tuple[Gamma, float], ...], g: torch.Generator
) -> list[tuple[Gamma, Tensor]]:
    """Draw a camera response for each sample; the responses and which samples have them."""
    shares = torch.tensor([share for _, share in gammas], device=g.device)
    choice = torch.multinomial(shares, b, replacement=True, generator=g)
    return [(gamma, (choice == i).nonzero().flatten()) for i, (gamma, _) in enumerate(gammas)]


def _render(
    sources: Tensor,
    masks: Tensor,
    present: Tensor,
    poses: Poses,
    size: tuple[int, int],
    scale: float,
) -> Tensor:
    """Put the layers on each other at some instants, (B, T, 3, H, W) in [0, 1].

    Args:
        sources: (B, K, 3, H', W'), from back to front.
        masks: of the layers in front, (B, K - 1, H', W').
        present: how many layers in front a sample has, (B,); the others are transparent.
        poses: of all layers at these instants.
        size: height and width of the rendered image [px].
        scale: source pixels per rendered pixel.
    """
    image = _sample(sources[:, 0], poses, 0, size, scale)
    for i in range(1, sources.shape[1]):
        mine = (present >= i).nonzero().flatten()
        if len(mine):
            layer = torch.cat([sources[mine, i], masks[mine, i - 1 : i]], dim=1)
            ours = Poses(*(p[mine] for p in vars(poses).values()))
            front = _sample(layer, ours, i, size, scale)
            image[mine] = torch.lerp(image[mine], front[:, :3], front[:, 3:])
    return image.clamp_(0, 1).transpose(1, 2)


@torch.no_grad()
def simulate(
    sources: Tensor,
    size: tuple[int, int],
    options: MotionOptions,
    generator: torch.Generator,
    camera: CameraOptions = IDEAL,
) -> Rendered:
    """Move the layers of still photos during an exposure.

    Args:
        sources: layers from back to front, (B, K, 3, H', W'), RGB in [0, 1], at least as large
            as the image with its `margin` on each side; what is larger is rendered smaller.
        size: height and width of the images to render [px].
        options: the motion.
        generator: source of randomness, on the device of `sources`.
        camera: its shutter, saturation and defocus; noise and compression are `develop`'s.

    Returns:
        Blurry images and their seven frames.

    Raises:
        OptionError: sources too small, or an even number of instants per frame.
    """
    check_motion(options)
    b, k, _, rows, columns = sources.shape
    rim = 2 * margin(size, options)
    scale = min(rows / (size[0] + rim), columns / (size[1] + rim))
    if scale < 1:
        raise OptionError(
            f"sources of {columns}x{rows} px are too small for {size[1]}x{size[0]} px and paths "
            f"of {options.max_path:g} px; they need {size[1] + rim}x{size[0] + rim} px"
        )
    count = FRAMES * options.sub_frames
    t = (2 * torch.arange(count, device=sources.device) + 1) / count - 1
    poses, shared = share_camera(draw_poses(b, k, t, options, generator), generator)
    net = torch.stack([p[..., -1] - p[..., 0] for p in (poses.shift_x, poses.shift_y)], dim=-1)
    sign = canonical_sign(
        net,
        poses.angle[..., -1] - poses.angle[..., 0],
        poses.log_zoom[..., -1] - poses.log_zoom[..., 0],
        size,
    )
    if options.order == "random":
        coin = torch.rand(b, k, generator=generator, device=sources.device) < 0.5
        sign = torch.where(coin, -1.0, 1.0)
    sign = torch.where(shared, sign[:, -1:], sign)  # one camera goes one way
    poses = reversed_where(poses, sign < 0)
    masks = soft_masks(b, k - 1, (rows, columns), generator) if k > 1 else sources.new_empty(0)
    present = torch.randint(0, k, (b,), generator=generator, device=sources.device)
    gammas = _draw_gammas(b, options.gammas, generator)
    weight = shutter(b, options.sub_frames, camera, generator)
    gain = draw_gains(b, camera, generator)
    sources = out_of_focus(sources, camera, generator, scale)
    light = torch.zeros(b, 3, *size, device=sources.device)
    frames = []
    at_once = max(1, PIXELS_AT_ONCE // (b * size[0] * size[1]))
    for chunk in torch.split(torch.arange(count, device=sources.device), at_once):
        now = Poses(*(p[..., chunk] for p in vars(poses).values()))
        instants = _render(sources, masks, present, now, size, scale)
        for gamma, mine in gammas:
            bright = to_light(instants[mine], gamma)
            if gain[mine].any():
                bright = light_up(instants[mine], bright, gain[mine])
                instants[mine] = to_image(bright.clamp(max=1), gamma)
            light[mine] += torch.einsum("btchw,bt->bchw", bright, weight[mine][:, chunk])
        frames.append(instants[:, chunk % options.sub_frames == options.sub_frames // 2])
    blurry = torch.empty_like(light)
    for gamma, mine in gammas:
        blurry[mine] = to_image(light[mine].clamp(max=1), gamma)
    return Rendered(blurry, torch.cat(frames, dim=1), net * sign.unsqueeze(-1))
