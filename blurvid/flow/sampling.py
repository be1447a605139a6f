"""Images and flows looked at between their pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from blurvid.errors import InputError

LUMA = (0.299, 0.587, 0.114)


def visible(forth: Tensor, back: Tensor) -> Tensor:
    """Tell where a flow can be believed: content that is seen in both images, and goes there.

    There and back must end at the start, but for 0.01 of the squared ways and 0.5 px²
    (Sundaram, Brox, Keutzer 2010, eq. 5).

    Args:
        forth: flow from the first image to the last [px], (B, 2, H, W).
        back: flow from the last image to the first, same shape.

    Returns:
        (B, 1, H, W), bool, on the pixels of the first image.

    Raises:
        InputError: the shapes differ.
    """
    if forth.shape != back.shape:
        raise InputError(f"flows of different shapes: {tuple(forth.shape)}, {tuple(back.shape)}")
    height, width = forth.shape[-2:]
    at = pixel_grid(height, width, forth.device) + forth
    returned = sample(back, at)
    error = (forth + returned).square().sum(dim=1, keepdim=True)
    ways = forth.square().sum(dim=1, keepdim=True) + returned.square().sum(dim=1, keepdim=True)
    return (error <= 0.01 * ways + 0.5) & inside(at, height, width)


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates (x, y) of the pixels [px], (1, 2, H, W)."""
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows]).unsqueeze(0)


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Values of (B, C, H, W) at pixel coordinates (B, 2, h, w); beyond the edge, the edge's."""
    height, width = image.shape[-2:]
    extent = at.new_tensor([max(width - 1, 1), max(height - 1, 1)]).view(1, 2, 1, 1)
    grid = (2 * at / extent - 1).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def inside(at: Tensor, height: int, width: int) -> Tensor:
    """Which pixel coordinates (B, 2, h, w) lie in an image, (B, 1, h, w)."""
    x, y = at[:, :1], at[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def steady(field: Tensor) -> Tensor:
    """Median of each 5 x 5 px of a field, (1, 2, H, W): specks leave, edges stay."""
    windows = F.unfold(F.pad(field, (2, 2, 2, 2), mode="replicate"), 5)
    return windows.view(1, 2, 25, *field.shape[-2:]).median(dim=2).values


def luma(image: Tensor) -> Tensor:
    """Brightness of RGB, (..., 3, H, W) -> (..., H, W) float32."""
    return torch.einsum("...chw,c->...hw", image.float(), image.new_tensor(LUMA).float())


def within(side: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of an image made smaller where it is longer than `side` [px]."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def limited(x: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W), at most `side` px wide and high; smaller ones as they are."""
    size = within(side, x.shape[-2], x.shape[-1])
    return x if size == x.shape[-2:] else shrink(x, size)


def shrink(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) at a smaller size."""
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def rescale(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """A flow (B, 2, H, W) for the same images at another size, its lengths with them."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    ratio = flow.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * ratio


def enlarged(x: Tensor, size: tuple[int, int], place: tuple[slice, slice]) -> Tensor:
    """Some rows and columns of (B, C, h, w) brought to another size.

    To the last bit as `rescale` has it, as networks in bfloat16 make more of the last bit.
    """
    for dim in (-1, -2):
        few, length = x.shape[dim], size[dim]
        scale = float(torch.tensor(few / length))  # in float32
        at = (torch.arange(length, dtype=torch.float64)[place[dim]] + 0.5) * scale - 0.5
        at = at.float().clamp(0, few - 1)
        low = at.long()
        share = (at - low).view(-1, *[1] * (-1 - dim)).to(x)
        low, high = low.to(x.device), (low + 1).clamp(max=few - 1).to(x.device)
        upper = x.index_select(dim, high) * share
        x = upper.addcmul_(x.index_select(dim, low), 1 - share)
    return x
