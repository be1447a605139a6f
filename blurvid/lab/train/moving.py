"""What the motion model minimizes in training, and what it is worth on clips that it never saw."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid import runtime
from blurvid.config import MIDDLE
from blurvid.exposure import TIMES, displacement, psnr_of, reblur, sample
from blurvid.lab import losses
from blurvid.lab.data import Batch
from blurvid.lab.data.source import reversed_where
from blurvid.lab.options import TrainOptions
from blurvid.models import MotionModel

LENGTH = 0.1
"""An error of 1 px counts as 1 at rest, and as 1 / (1 + LENGTH * way) where the way is longer."""
BENDS = 0.5
"""Weight of errors of b, beside those of a..."""
WORST = 10.0
"""...and where they count no more."""
UNLIKELY = 30.0
"""Errors beyond count no more for how sure the network should be."""
SURE = 4.0
"""Largest logarithm of an expected error that counts, and of its inverse."""
PICTURE = 0.5
"""Weight of the error of the solved picture, beside those of the frames."""


class MovingObjective(nn.Module):
    """Losses of a batch of `TrainingSource`.

    Args:
        model: the model to train; its middle network is not asked.
        options: the run.
    """

    def __init__(self, model: MotionModel, options: TrainOptions) -> None:
        super().__init__()
        self.model, self.options = model, options.paths
        self.stages = options.stages
        model.motion.requires_grad_("motion" in self.stages)
        model.restoration.requires_grad_("restore" in self.stages)
        self.joined = False
        """Whether the restoration's errors teach the motion network, too."""

    def at(self, progress: float) -> None:
        """Tell how much of the run is over, in [0, 1]."""
        self.joined = progress > self.options.joined

    def forward(
        self, y: Tensor, x: Tensor, m: Tensor, path: Tensor, looks: Tensor
    ) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
        """Compute the losses of a batch, see `Batch`.

        Returns:
            Losses by name, to be added; and no frames, which nothing asks for.
        """
        told = proposed(self.model, m, y)
        motion = told[:, :4]
        found: dict[str, Tensor] = {}
        if "motion" in self.stages:
            found |= self._motion(motion, told[:, 4], m, x, path)
        if "restore" in self.stages:
            found |= self._restoration(motion, y, x, m, path, looks)
        return found, {}

    def _motion(
        self, motion: Tensor, sure: Tensor, m: Tensor, x: Tensor, path: Tensor
    ) -> dict[str, Tensor]:
        """How far paths are from the true ones, and warps at half size from the frames."""
        small, short = F.avg_pool2d(m, 2), F.avg_pool2d(motion, 2) / 2
        frames = F.avg_pool2d(x.flatten(0, 1), 2).view(*x.shape[:3], *small.shape[-2:])
        warps = [
            (sample(small, displacement(short, t)) - frames[:, i]).abs().mean()
            for i, t in enumerate(TIMES)
            if i != MIDDLE - 1
        ]
        unit = 1 + LENGTH * path[:, :2].norm(dim=1)
        error = (motion[:, :2] - path[:, :2]).norm(dim=1) / unit
        bends = ((motion[:, 2:] - path[:, 2:]).norm(dim=1) / unit).clamp(max=WORST)
        log = sure.clamp(-SURE, SURE)
        unlikely = (error.detach().clamp(max=UNLIKELY) * torch.exp(-log) + log).mean()
        return {
            "warped": self.options.warped * torch.stack(warps).mean(),
            "field": self.options.field * (error.mean() + BENDS * bends.mean()),
            "surely": self.options.surely * unlikely,
        }

    def _restoration(
        self, motion: Tensor, y: Tensor, x: Tensor, m: Tensor, path: Tensor, looks: Tensor
    ) -> dict[str, Tensor]:
        """How far the restored frames are from the true ones, in the order that was found."""
        agree = (motion[:, :2].detach() * path[:, :2]).sum(1).mean((1, 2)) >= 0
        sign = torch.where(agree, 1.0, -1.0)
        x = reversed_where(x, sign)
        true = torch.cat([path[:, :2] * sign.view(-1, 1, 1, 1), path[:, 2:]], dim=1)
        shown = torch.rand(len(y), 1, 1, 1, device=y.device) < self.options.true_motion
        motion = torch.where(shown, true, motion if self.joined else motion.detach())
        blurred = torch.empty_like(m)
        for count in sorted(set(looks.tolist())):
            mine = (looks == count).nonzero().flatten().to(m.device)
            a, b = motion[mine, :2], motion[mine, 2:]
            blurred = blurred.index_copy(0, mine, reblur(m[mine], a, b, count))
        net = self.model.restoration
        picture, features = net.solve(y, m, motion, blurred)
        frames = [net.frame(picture, features, motion, t) for t in TIMES]
        pairs = list(zip(frames, x.unbind(1), strict=True))
        pixels = [losses.charbonnier(a, b) for a, b in pairs]
        waves = [torch.fft.rfft2((a - b).float(), norm="ortho").abs().mean() for a, b in pairs]
        weight = self.options.restored
        return {
            "restored": weight * torch.stack(pixels).mean(),
            "frequency": weight * torch.stack(waves).mean(),
            "picture": weight * PICTURE * (picture - x[:, MIDDLE - 1]).abs().mean(),
        }


def proposed(model: MotionModel, m: Tensor, y: Tensor) -> Tensor:
    """The motion network's answer at the photo's size, (B, 5, H, W)."""
    told: Tensor = model.motion(m, y)
    return F.interpolate(told, y.shape[-2:], mode="bilinear", align_corners=False)


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
