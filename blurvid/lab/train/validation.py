"""What a motion model in training is worth on clips that it never saw."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from blurvid import runtime
from blurvid.blur import psnr_of
from blurvid.config import MIDDLE
from blurvid.exposure import TIMES, displacement, sample
from blurvid.lab.data import Batch
from blurvid.lab.train.moving import proposed
from blurvid.models import MotionModel


@torch.no_grad()
def validate(model: MotionModel, batches: Iterable[Batch], dtype: torch.dtype) -> dict[str, float]:
    """Score a model on windows, the better order of time each.

    Args:
        model: of one pass at one size: no pyramid, no refinement.
        batches: as `TrainingSource.validation` gives them.
        dtype: of the networks' features.

    Returns:
        Mean PSNR [dB] of the seven frames: `blurry`, the photo each time; `warped`, the middle
        frame along the motion found, and `warped_true` along the true one; `solved`, the solved
        picture along the motion found; `frames`, those of the model, and `frames_true` with the
        true motion; of the middle frame `middle` and of the solved picture `picture`; and the
        mean error of a, `error` [px]. Empty where there are no windows.
    """
    rows = [_score(model, batch, dtype) for batch in batches]
    return {name: sum(row[name] for row in rows) / len(rows) for name in (rows or [{}])[0]}


def _score(model: MotionModel, batch: Batch, dtype: torch.dtype) -> dict[str, float]:
    y, x, m, path = batch[:4]
    with runtime.autocast(y.device, dtype):
        motion = proposed(model, m, y)[:, :4].float()
        sign = 1.0 if float((motion[:, :2] * path[:, :2]).sum()) >= 0 else -1.0
        true = torch.cat([path[:, :2] * sign, path[:, 2:]], dim=1)
        picture, frames = model.restoration(y, m, motion, TIMES)
        _, frames_true = model.restoration(y, m, true, TIMES)

    def along(image: Tensor, field: Tensor) -> Tensor:
        return torch.stack([sample(image, displacement(field, t), "bicubic") for t in TIMES], 1)

    return {
        "blurry": _psnr(y.unsqueeze(1).expand_as(x), x),
        "warped": _better(along(m, motion), x),
        "warped_true": _better(along(m, true), x),
        "solved": _better(along(picture, motion), x),
        "frames": _better(frames, x),
        "frames_true": _better(frames_true, x),
        "middle": _psnr(m, x[:, MIDDLE - 1]),
        "picture": _psnr(picture, x[:, MIDDLE - 1]),
        "error": float((motion[:, :2] - true[:, :2]).norm(dim=1).mean()),
    }


def _better(frames: Tensor, x: Tensor) -> float:
    return max(_psnr(frames, x), _psnr(frames.flip(1), x))


def _psnr(image: Tensor, truth: Tensor) -> float:
    """PSNR, the mean over images."""
    error = (image.float().clamp(0, 1) - truth).square().mean((-3, -2, -1))
    return float(psnr_of(error).mean())
