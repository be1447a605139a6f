"""What a training step of BDIRNet minimizes: views of one moment, compared and reconstructed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta

from blurvid.config import MIDDLE
from blurvid.lab import losses
from blurvid.lab.options import TrainOptions
from blurvid.networks import BDIRNet

PLACES = 16
"""Most places a side that are told apart; nearer ones are almost the same."""
EMBEDDED = 256
"""Dimensions in which they are told apart."""
BETA = 0.1
"""Both parameters of the distribution of mixed statistics (MixStyle, Zhou et al. 2021)."""
SQUARED_RANGE = 10.0
"""Multiplies squared errors, so that they are of the order of Charbonnier's and the weights of the
other losses mean the same."""


class Projector(nn.Module):
    """Features at some places to vectors of unit length, for the contrast. For training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, EMBEDDED), nn.ReLU(), nn.Linear(EMBEDDED, EMBEDDED)
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W) -> (B, H·W, EMBEDDED)`."""
        return F.normalize(self.layers(features.flatten(2).transpose(1, 2)).float(), dim=-1)


class ViewObjective(nn.Module):
    """Losses of a batch of views, as one module that data parallelism can wrap.

    Args:
        model: the model to train.
        options: the run.
    """

    def __init__(self, model: BDIRNet, options: TrainOptions) -> None:
        super().__init__()
        self.model, self.options, self.weights = model, options, options.views
        compared = self.weights.invariance or self.weights.statistics or self.weights.contrast
        self.compares = bool(compared)
        self.sees_sharp = bool(self.weights.sharp or self.compares)
        channels = model.spec.channels[0]
        self.heads = nn.ModuleDict()
        """What is trained besides, and not part of the model."""
        if self.weights.contrast:
            self.heads["projector"] = Projector(channels)
        self.register_buffer("ramp", torch.zeros(()), persistent=False)
        self.ramp: Tensor

    def at(self, progress: float) -> None:
        """Tell how much of the run is over, in [0, 1]."""
        begin, end = self.weights.ramp
        self.ramp.fill_(min(max((progress - begin) / max(end - begin, 1e-9), 0.0), 1.0))

    def forward(self, y: Tensor, x: Tensor) -> tuple[dict[str, Tensor], dict[int, Tensor]]:
        """Compute the losses of a batch.

        Args:
            y: blurry images, (B, 3, H, W).
            x: their middle frames, and second blurry views of these, (B, 2, 3, H, W).

        Returns:
            Losses by name, to be added; and the estimated middle frame by its number.
        """
        b = len(y)
        sharp, second = x.unbind(1)
        views = [y, second, sharp] if self.sees_sharp else [y, second]
        seen = torch.cat(views)
        features, content = self.model.distill(seen)
        shown = [self._mixed(f, b) for f in (features, content)]
        estimates = self.model.render(seen, *shown).reshape(-1, *y.shape)
        found = {
            "blurry": (self._error(estimates[0], sharp) + self._error(estimates[1], sharp)) / 2
        }
        if self.weights.frequency:
            each = [losses.frequency(estimate, sharp) for estimate in estimates[:2]]
            found["frequency"] = self.weights.frequency * torch.stack(each).mean()
        if self.weights.sharp:
            found["sharp"] = self.weights.sharp * self._error(estimates[2], sharp)
        if self.compares:
            found |= self._compared(features, content, b)
        return found, {MIDDLE: estimates[0]}

    def _error(self, estimate: Tensor, truth: Tensor) -> Tensor:
        if self.options.loss in ("auto", "independent"):
            return SQUARED_RANGE * F.mse_loss(estimate, truth)
        return losses.REGRESSIONS[self.options.loss](estimate, truth)

    def _compared(self, features: Tensor, content: Tensor, b: int) -> dict[str, Tensor]:
        """How far the blurry views' features are from the sharp one's."""
        found = {}
        normal = [torch.split(losses.channel_norm(f), b) for f in (features, content)]
        pairs = [(views[i], views[2]) for views in normal for i in (0, 1)]
        if self.weights.invariance:
            each = [losses.invariance(*pair) for pair in pairs]
            found["invariance"] = self.weights.invariance * self.ramp * torch.stack(each).mean()
        if self.weights.statistics:
            each = [losses.statistics_gap(*pair) for pair in pairs]
            found["statistics"] = self.weights.statistics * self.ramp * torch.stack(each).mean()
        if self.weights.contrast:
            places = [self._places(view) for view in normal[0]]
            blurry, _, sharp = (self.heads["projector"](view) for view in places)
            found["contrast"] = (
                self.weights.contrast
                * self.ramp
                * losses.contrast(blurry, sharp, self.weights.temperature)
            )
        return found

    def _places(self, features: Tensor) -> Tensor:
        """A regular grid of places, so far apart that neighbours differ."""
        step = max(1, -(-max(features.shape[-2:]) // PLACES))
        return features[..., step // 2 :: step, step // 2 :: step]

    def _mixed(self, features: Tensor, b: int) -> Tensor:
        """Draw the statistics of some views towards another view's (after MixStyle).

        What is rendered must then not hang on statistics that a kind of blur leaves behind.
        """
        if not self.weights.mixing:
            return features
        views = features.reshape(-1, b, *features.shape[1:])
        deviation, mean = torch.std_mean(views.float(), dim=(-2, -1), keepdim=True, correction=0)
        other_mean, other = (s.roll(1, 0).detach() for s in (mean, deviation))
        own = Beta(BETA, BETA).sample(views.shape[:2]).to(views.device)
        chosen = torch.rand(views.shape[:2], device=views.device) < self.weights.mixing
        own = torch.where(chosen, own, torch.ones_like(own))[..., None, None, None]
        scale = torch.lerp(other, deviation, own) / deviation.clamp(min=1e-6)
        shift = torch.lerp(other_mean, mean, own) - mean * scale
        mixed: Tensor = (views * scale + shift).to(features.dtype).flatten(0, 1)
        return mixed
