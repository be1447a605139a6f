"""What a training step minimizes, for all models but the motion one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blurvid.config import FRAMES, MIDDLE, STAGES
from blurvid.errors import OptionError
from blurvid.lab import losses
from blurvid.lab.losses import VGGFeatures
from blurvid.lab.options import TrainOptions
from blurvid.models import Cascade
from blurvid.networks import DirectNet
from blurvid.networks.blocks import InstanceNorm


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
    return "charbonnier" if options.order == "canonical" else "pair"


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
        model: Cascade | DirectNet,
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
        truths = dict(enumerate(x.unbind(1), 1))
        if isinstance(self.model, Cascade):
            return self._cascade(self.model, y, truths)
        estimates = dict(enumerate(self.model(y).unbind(1), 1))
        if self.loss in losses.REGRESSIONS:
            found = {"direct": self._compare(estimates, truths)}
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
