"""What a training step minimizes, and what the motion model is worth on clips never seen."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid import runtime
from blurvid.config import FRAMES, MIDDLE, STAGES
from blurvid.errors import OptionError
from blurvid.exposure import TIMES, displacement, reblur, sample
from blurvid.lab import losses
from blurvid.lab.data import Batch
from blurvid.lab.data.source import reversed_where
from blurvid.lab.losses import VGGFeatures
from blurvid.lab.metrics import psnr
from blurvid.lab.options import TrainOptions
from blurvid.models import Cascade, MotionModel
from blurvid.networks import DirectNet, Maxim
from blurvid.networks.blocks import InstanceNorm

# Of the motion model's losses
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


class PatchCritic(nn.Module):
    """Judge overlapping patches of a frame beside the blurry image it came from.

    `critic(y, frame)`, each (B, 3, H, W) -> logits (B, 1, H/8, W/8), rounded down.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for inputs, outputs in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                InstanceNorm(outputs),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(4 * width, 1, 3, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, y: Tensor, frame: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([y, frame], dim=1))
        return logits


Estimates = dict[int, Tensor]


def resolve_loss(options: TrainOptions) -> str:
    """Name of the loss on frames other than the middle one."""
    if options.loss != "auto":
        return options.loss
    return "pair" if options.order == "invariant" else "charbonnier"


class Objective(nn.Module):
    """Estimates of a batch and their losses.

    Each stage of the cascade has its own losses and its gradient stays within it, whether it
    is shown true frames (teacher forcing) or the model's own; all can be trained at once. The
    one exception is the global loss, which takes the frames of all pairs together.

    Args:
        model: the model to train.
        options: the run.
        features: for the perceptual loss (eq. 3); None leaves it out.

    Raises:
        OptionError: unknown stages, or too few for the global loss.
    """

    def __init__(
        self,
        model: Cascade | DirectNet | Maxim,
        options: TrainOptions,
        features: VGGFeatures | None = None,
    ) -> None:
        super().__init__()
        unknown = set(options.stages) - set(STAGES)
        if unknown or not options.stages:
            raise OptionError(f"no stage named {', '.join(sorted(unknown)) or 'nothing'}")
        self.model = model
        self.options = options
        self.loss = resolve_loss(options)
        self.features = features
        if isinstance(model, Cascade):
            self.stages = tuple(s for s in STAGES if s in options.stages)
            if self.loss == "global" and not set(STAGES) - {"middle"} <= set(self.stages):
                raise OptionError("the global loss takes all pairs together; train all stages")
            for stage, net in model.stages.items():
                net.requires_grad_(stage in self.stages)

    def at(self, progress: float) -> None:
        """Tell how much of the run is over, which changes nothing here."""

    def forward(self, y: Tensor, x: Tensor) -> tuple[dict[str, Tensor], Estimates]:
        """Compute the losses of a batch.

        Args:
            y: blurry images, (B, 3, H, W).
            x: true frames, (B, 7, 3, H, W).

        Returns:
            Losses by name, to be added; and the estimated frames by number.
        """
        if isinstance(self.model, Cascade):
            return self._cascade(self.model, y, dict(enumerate(x.unbind(1), 1)))
        first, frames = MIDDLE if isinstance(self.model, Maxim) else 1, self.model(y)
        if self.options.order == "nearest":
            x = nearest(frames.detach(), x)
        truths = dict(enumerate(x.unbind(1), 1))
        estimates = dict(enumerate(frames.unbind(1), first))
        if self.loss in losses.REGRESSIONS:
            found = {self.model.name: self._compare(estimates, truths)}
            if self.features is not None:
                seen = losses.perceptual(estimates[MIDDLE], truths[MIDDLE], self.features)
                found["perceptual"] = self.options.perceptual * seen
            return found, estimates
        return {
            "middle": self._middle(estimates[MIDDLE], truths[MIDDLE]),
            "others": self._compare(estimates, truths),
        }, estimates

    def _cascade(
        self, model: Cascade, y: Tensor, truths: Estimates
    ) -> tuple[dict[str, Tensor], Estimates]:
        found = self._estimates(model, y, truths)
        result = {}
        for stage in self.stages:
            if stage == "middle":
                result[stage] = self._middle(found[MIDDLE], truths[MIDDLE])
            elif self.loss != "global":
                first, last = int(stage[0]), int(stage[1])
                result[stage] = self._compare({i: found[i] for i in (first, last)}, truths)
        if self.loss == "global":  # eq. 4 is a sum over all pairs at once
            result["others"] = self._compare(found, truths)
        return result, found

    def _estimates(self, model: Cascade, y: Tensor, truths: Estimates) -> Estimates:
        """Frames of the stages in training, each from what is shown to it in training."""
        forced = self.options.teacher_forcing
        contexts = blend_contexts(y, truths, self.options.context_blend) if forced else {}
        last = STAGES.index(self.stages[-1])
        found: Estimates = {}
        for stage in STAGES[: last + 1]:
            trained = stage in self.stages
            if forced and not trained:
                continue
            estimates = model.predict(stage, y, contexts)
            if trained:
                found.update(estimates)
            if not forced:  # Table 1: the stages before are done, this one makes do with them
                contexts = contexts | {i: e.detach() for i, e in estimates.items()}
        return found

    def _middle(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """A regression, or the squared error, and the perceptual loss (eq. 3)."""
        own = self.loss in losses.REGRESSIONS
        loss = self._regression(estimate, truth) if own else F.mse_loss(estimate, truth)
        if self.features is not None and self.options.perceptual:
            seen = losses.perceptual(estimate, truth, self.features)
            loss = loss + self.options.perceptual * seen
        return loss

    def _compare(self, estimates: Estimates, truths: Estimates) -> Tensor:
        if self.loss in losses.REGRESSIONS:
            each = [self._regression(e, truths[i]) for i, e in estimates.items()]
            return torch.stack(each).mean()
        return losses.SEQUENCES[self.loss](estimates, truths)

    def _regression(self, estimate: Tensor, truth: Tensor) -> Tensor:
        loss = losses.REGRESSIONS[self.loss](estimate, truth)
        if self.options.frequency:
            loss = loss + self.options.frequency * losses.frequency(estimate, truth)
        return loss


def nearest(estimates: Tensor, x: Tensor) -> Tensor:
    """Frames x in the order of time that the estimates are nearer to, (B, 7, 3, H, W) each.

    Which way time ran is not in the photo, so that any answer is right that holds throughout.
    """
    ahead, back = ((estimates - order).abs().mean((1, 2, 3, 4)) for order in (x, x.flip(1)))
    return reversed_where(x, back - ahead)


def blend_contexts(y: Tensor, truths: Estimates, share: float) -> Estimates:
    """Make true frames as imperfect as estimates are: in part still the blurry image.

    Plain teacher forcing (the paper's) shows later stages perfect frames only, which they never
    meet in use. Departure: in a share of the samples every frame is drawn towards y.

    Args:
        y: blurry images, (B, 3, H, W).
        truths: true frames by number.
        share: of samples that are blended; 0 is plain teacher forcing.
    """
    if not share:
        return truths
    draw = torch.rand(2, len(y), 1, 1, 1, device=y.device)
    amount = draw[0] * (draw[1] < share)
    return {i: torch.lerp(x, y, amount) for i, x in truths.items()}


class AdversarialObjective(nn.Module):
    """The critic's side of the adversarial losses on frames other than the middle one."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = PatchCritic()

    def forward(self, y: Tensor, truths: Tensor, estimates: Tensor) -> Tensor:
        """Loss of the critic, on N frames each (N, 3, H, W)."""
        return losses.critic(self.critic(y, truths), self.critic(y, estimates.detach()))

    def deceive(self, y: Tensor, estimates: Tensor) -> Tensor:
        """Loss of the frame networks; the critic itself learns nothing from it."""
        parameters = list(self.critic.parameters())
        for p in parameters:
            p.requires_grad_(False)
        loss = losses.adversarial(self.critic(y, estimates))
        for p in parameters:
            p.requires_grad_(True)
        return loss


def outer_frames(
    y: Tensor, x: Tensor, estimates: Estimates
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Stack what the critic looks at: y, true and estimated frames but the middle one.

    Returns:
        Three tensors (N·B, 3, H, W), or None when there are no such frames.
    """
    numbers = [i for i in estimates if i != MIDDLE and 1 <= i <= FRAMES]
    if not numbers:
        return None
    truths = torch.cat([x[:, i - 1] for i in numbers])
    return y.repeat(len(numbers), 1, 1, 1), truths, torch.cat([estimates[i] for i in numbers])


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
    return float(psnr(image.clamp(0, 1), truth).mean())
