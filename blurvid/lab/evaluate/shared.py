"""What all scores share: frames that can be scored, means, plain values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor

from blurvid.config import FRAMES
from blurvid.errors import InputError
from blurvid.lab.metrics import PSNR_CEILING, psnr

W = TypeVar("W")
R = TypeVar("R")


class _OfClip(Protocol):
    @property
    def clip(self) -> str: ...


ClipRow = TypeVar("ClipRow", bound=_OfClip)

Extract: TypeAlias = Callable[[Tensor], Tensor]
"""Gives for y (3, H, W), RGB, float32 in [0, 1], its seven frames (7, 3, H, W) in order of time;
they are clamped to [0, 1], not rounded, before they are scored."""


def extracted(extract: Extract, name: str, y: Tensor, count: int = FRAMES) -> Tensor:
    """Run an extractor on one blurry image.

    Args:
        extract: the extractor.
        name: name of the window, for messages.
        y: blurry image, (3, H, W), RGB, float32 in [0, 1].
        count: how many frames it gives.

    Returns:
        The frames, (T, 3, H, W), float32 in [0, 1], on the device where the extractor left them.

    Raises:
        InputError: frames of the wrong shape, or with values that are not finite.
    """
    with torch.no_grad():
        frames = extract(y)
    wanted = (count, *y.shape)
    if frames.shape != wanted:
        raise InputError(
            f"{name}: the frames extracted have the shape {tuple(frames.shape)}, not {wanted}"
        )
    if not bool(frames.isfinite().all()):
        raise InputError(f"{name}: the frames extracted are not all finite numbers")
    return frames.detach().float().clamp(0, 1)


def in_better_order(frames: Tensor, truth: Tensor, seven: slice = slice(None)) -> Tensor:
    """Turn extracted frames to the order of time that is closer to the true ones.

    Args:
        frames: (T, 3, H, W).
        truth: the frames at these times, same shape.
        seven: which of them decide; the same from both ends.
    """
    # A frame that is exactly right must not drown the others.
    forward, backward = (
        psnr(order[seven], truth[seven]).clamp(max=PSNR_CEILING).mean()
        for order in (frames, frames.flip(0))
    )
    return frames.flip(0) if backward > forward else frames


def scored(
    windows: Iterable[W], score: Callable[[W], R], on_window: Callable[[R], None] | None
) -> tuple[R, ...]:
    """Score windows, one after the other.

    Args:
        windows: what to score.
        score: gives the scores of one.
        on_window: called with the scores of every window.

    Raises:
        InputError: no windows, and all that `score` raises.
    """
    rows = []
    for window in windows:
        rows.append(score(window))
        if on_window:
            on_window(rows[-1])
    if not rows:
        raise InputError("no windows to evaluate")
    return tuple(rows)


def means(kind: type[R], records: Sequence[Any]) -> R:
    """Average records, field by field.

    Args:
        kind: a dataclass, with fields that the records have.
        records: at least one. Figures are averaged, also in tuples, dictionaries and records of
            their own; texts and whole numbers are those of the first.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: _mean([getattr(r, name) for r in records]) for name in names})


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if is_dataclass(first):
        return means(type(first), values)
    if isinstance(first, dict):
        return {key: _mean([value[key] for value in values]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(_mean, zip(*values, strict=True)))
    return average(values) if isinstance(first, float) else first


def average(values: Sequence[float]) -> float:
    """Mean of at least one value; infinite where one of them is."""
    return sum(values) / len(values)


def by_clip(rows: Sequence[ClipRow], summarise: Callable[[Sequence[ClipRow]], R]) -> dict[str, R]:
    """Summaries of the rows of each clip, in order of appearance."""
    names = dict.fromkeys(row.clip for row in rows)
    return {name: summarise([row for row in rows if row.clip == name]) for name in names}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold: None for what is not finite, lists for tuples, objects for records."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
