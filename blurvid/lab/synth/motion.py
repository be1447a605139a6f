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
from blurvid.lab.synth.camera import defocus, draw_gains, light_up, shutter

BEND = 0.3
"""Largest sideways bow of a path, in path lengths."""
SHAKE = 0.06
"""Largest tremor, in path lengths."""
HASTE = 0.3
"""Largest change of speed over the exposure, in mean speeds."""
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


@dataclass(frozen=True)
class _Poses:
    """Where each layer is at each instant; every field (B, K, T)."""

    shift_x: Tensor
    shift_y: Tensor
    angle: Tensor
    log_zoom: Tensor


def uniform(low: float, high: float, *shape: int, g: torch.Generator) -> Tensor:
    """Draw numbers evenly between two, on the generator's device."""
    return low + (high - low) * torch.rand(*shape, generator=g, device=g.device)


def _draw_poses(b: int, k: int, t: Tensor, options: MotionOptions, g: torch.Generator) -> _Poses:
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
    return _Poses(shift_x, shift_y, angle, zoom)


def _share_camera(poses: _Poses, g: torch.Generator) -> tuple[_Poses, Tensor]:
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

    shared = _Poses(
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


def _sample(layer: Tensor, poses: _Poses, index: int, size: tuple[int, int], s: float) -> Tensor:
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
    poses: _Poses,
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
            ours = _Poses(*(p[mine] for p in vars(poses).values()))
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
    poses, shared = _share_camera(_draw_poses(b, k, t, options, generator), generator)
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
    poses = _reversed_where(poses, sign < 0)
    masks = soft_masks(b, k - 1, (rows, columns), generator) if k > 1 else sources.new_empty(0)
    present = torch.randint(0, k, (b,), generator=generator, device=sources.device)
    gammas = _draw_gammas(b, options.gammas, generator)
    weight = shutter(b, options.sub_frames, camera, generator)
    gain = draw_gains(b, camera, generator)
    sources = _out_of_focus(sources, scale, camera, generator)
    light = torch.zeros(b, 3, *size, device=sources.device)
    frames = []
    at_once = max(1, PIXELS_AT_ONCE // (b * size[0] * size[1]))
    for chunk in torch.split(torch.arange(count, device=sources.device), at_once):
        now = _Poses(*(p[..., chunk] for p in vars(poses).values()))
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


def _out_of_focus(
    sources: Tensor, scale: float, camera: CameraOptions, g: torch.Generator
) -> Tensor:
    """Put some layers, (B, K, 3, H', W'), out of focus; `scale` is as for `_sample`."""
    if not camera.defocused:
        return sources
    layers = sources.flatten(0, 1)
    draw = torch.rand(2, len(layers), generator=g, device=g.device)
    mine = (draw[0] < camera.defocused).nonzero().flatten()
    if not len(mine):
        return sources
    layers = layers.clone()
    layers[mine] = defocus(layers[mine], draw[1, mine] * camera.max_defocus * scale)
    return layers.view_as(sources)


def _reversed_where(poses: _Poses, mask: Tensor) -> _Poses:
    """Turn time around for the layers in mask (B, K)."""
    return _Poses(*(torch.where(mask[..., None], p.flip(-1), p) for p in vars(poses).values()))
