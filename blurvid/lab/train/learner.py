"""What a run trains: model, objective, critic, optimizers and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from blurvid import runtime, weights
from blurvid.errors import OptionError
from blurvid.lab.data import Batch
from blurvid.lab.losses import load_vgg
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.objective import (
    AdversarialObjective,
    MovingObjective,
    Objective,
    outer_frames,
)
from blurvid.lab.train.settings import crop_of, spec_asked
from blurvid.lab.train.state import RampedAverage, learning_rate, load_moments
from blurvid.models import Cascade, GivenPicture, MotionModel, Trainable, build
from blurvid.networks import DirectNet, Maxim
from blurvid.weights import store


class Learner:
    """A model in training.

    Args:
        options: the run.
        device: where it learns.
        dtype: of the networks' features.
        initial: weights to start from.
        vgg: VGG16 weights for the perceptual loss.

    Raises:
        OptionError: a crop that does not fit the model, or a perceptual loss without VGG16.
        WeightsError: weights missing or damaged.
    """

    def __init__(
        self,
        options: TrainOptions,
        device: torch.device,
        dtype: torch.dtype,
        initial: weights.WeightSet | None = None,
        vgg: Path | None = None,
    ) -> None:
        if options.perceptual and vgg is None:
            raise OptionError("the perceptual loss needs VGG16 weights; name their file")
        self.options, self.device, self.dtype = options, device, dtype
        runtime.seed_everything(options.seed)
        self.model = _make_model(options, initial)
        self.crop, multiple = crop_of(options), _multiple(self.model)
        if self.crop % multiple:
            raise OptionError(
                f"crop must be a multiple of {multiple} px for the {self.model.name} model"
            )
        features = load_vgg(vgg).to(device) if vgg and options.perceptual else None
        runtime.place(self.model, device)
        self.objective: Objective | MovingObjective
        if isinstance(self.model, MotionModel):
            self.objective = MovingObjective(self.model, options)
        else:
            assert isinstance(self.model, Cascade | DirectNet | Maxim)  # see `check_options`
            self.objective = Objective(self.model, options, features)
        self.objective.to(device)
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizers = [_adamw(trained, options)]
        self.average = AveragedModel(
            self.model, multi_avg_fn=RampedAverage(options.ema), use_buffers=False
        )
        self.critic: AdversarialObjective | None = None
        if options.adversarial:
            self.critic = AdversarialObjective().to(device)
            self.optimizers.append(_adamw(list(self.critic.parameters()), options))
        self._objective: Callable[..., Any] = self.objective
        if options.compile:
            self._objective = torch.compile(self.objective)
        self.model.train()

    def step(self, batch: Batch, progress: float) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step.

        Args:
            batch: what `Source.draw` gave.
            progress: spent share of the budget, in [0, 1].

        Returns:
            The losses by name, and the norm of the gradient.
        """
        optimizer, *others = self.optimizers
        for group in (group for one in self.optimizers for group in one.param_groups):
            group["lr"] = learning_rate(progress, self.options)
        self.objective.at(progress)
        with runtime.autocast(self.device, self.dtype):
            found, estimates = self._objective(*batch)
            seen = outer_frames(batch[0], batch[1], estimates) if self.critic else None
            if self.critic is not None and seen is not None:
                fooled = self.critic.deceive(seen[0], seen[2])
                found = found | {"adversarial": self.options.adversarial * fooled}
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, self.options.clip)
        optimizer.step()
        self.average.update_parameters(self.model)
        if self.critic is not None and seen is not None:
            with runtime.autocast(self.device, self.dtype):
                found["critic"] = self.critic(*seen)
            others[0].zero_grad(set_to_none=True)
            found["critic"].backward()
            others[0].step()
        return {name: loss.detach() for name, loss in found.items()}, norm

    def not_finite(self) -> str | None:
        """Name a parameter that holds NaN or infinity; None where none does."""
        modules = {"model": self.model, "average": self.average.module, "critic": self.critic}
        for kind, module in modules.items():
            for name, parameter in module.named_parameters() if module is not None else ():
                if not parameter.isfinite().all():
                    return f"{kind} {name}"
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain values and tensors only."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizers[0].state_dict(),
            "critic": self.critic.state_dict() if self.critic else None,
            "critic_optimizer": self.optimizers[1].state_dict() if self.critic else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint keeps.

        Raises:
            RuntimeError, ValueError, LookupError, TypeError, AttributeError: not what `state` gives
                of this model.
        """
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        load_moments(self.optimizers[0], state["optimizer"])
        if self.critic and state["critic"]:
            self.critic.load_state_dict(state["critic"])
            load_moments(self.optimizers[1], state["critic_optimizer"])


def _make_model(options: TrainOptions, initial: weights.WeightSet | None) -> Trainable:
    if initial is None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # LAPACK's orthogonalization of small matrices crawls in many
        try:
            found = build(options.model, spec_asked(options))
        finally:
            torch.set_num_threads(threads)
    else:
        found = store.load(initial)
    if isinstance(found, MotionModel):  # its middle frames come with the data
        found = MotionModel(GivenPicture(torch.empty(3, 1, 1)), found.motion, found.restoration)
    return found if initial is None else found.requires_grad_(True)


def _multiple(model: Trainable) -> int:
    """What divides the sides of training crops."""
    if isinstance(model, MotionModel):  # which takes photos of any size
        return math.lcm(model.motion.size_multiple, model.restoration.size_multiple)
    return model.size_multiple


def _adamw(parameters: list[nn.Parameter], options: TrainOptions) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=options.lr, betas=(0.9, 0.99), weight_decay=options.weight_decay
    )
