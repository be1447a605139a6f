"""A run in progress: data, steps, averaged weights, log and checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from blurvid import runtime, weights
from blurvid.config import FRAMES
from blurvid.errors import InputError, OptionError, OutputError, TrainingError
from blurvid.lab.data import Batch, Source, resume_source, state_of, validation_of
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.group import launch
from blurvid.lab.train.meter import Meter, TrainStep
from blurvid.lab.train.moving import MovingObjective, example
from blurvid.lab.train.objective import AdversarialObjective, Objective, outer_frames
from blurvid.lab.train.records import append, cut
from blurvid.lab.train.settings import MOST, crop_of, spec_asked
from blurvid.lab.train.state import (
    DAMAGED,
    RampedAverage,
    check_optimizer,
    learning_rate,
    save_state,
)
from blurvid.lab.train.validation import validate
from blurvid.lab.train.vgg import load_vgg
from blurvid.lab.train.views import ViewObjective
from blurvid.media import remove_stale
from blurvid.models import Cascade, GivenMiddle, MotionModel, Trainable, build
from blurvid.networks import BDIRNet, DirectNet

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
SCORES_FILE = "scores.jsonl"
"""Lines of validation, of what keeps windows apart for it."""
WEIGHTS_FOLDER = "weights"
VALIDATION_SHARE = 0.05
"""Most of the time that may be spent on validation before the end of a run."""


class Trainer:
    """A run in progress; `blurvid.lab.train.train` is the way in."""

    def __init__(
        self,
        options: TrainOptions,
        source: Source,
        out: Path,
        device: torch.device,
        dtype: torch.dtype,
        initial: weights.WeightSet | None,
        vgg: Path | None,
    ) -> None:
        if options.perceptual and vgg is None:
            raise OptionError("the perceptual loss needs VGG16 weights; name their file")
        self.options, self.source, self.out = options, source, out
        self.device, self.dtype = device, dtype
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        runtime.seed_everything(options.seed)
        model = self._make_model(initial)
        self.crop = crop_of(options)
        self.multiple = _multiple(model)
        if self.crop % self.multiple:
            raise OptionError(
                f"crop must be a multiple of {self.multiple} px for the {model.name} model"
            )
        features = load_vgg(vgg).to(device) if vgg and options.perceptual else None
        runtime.place(model, device)
        self.model = model
        if isinstance(model, BDIRNet):
            self.objective: ViewObjective | Objective | MovingObjective = ViewObjective(
                model, options
            )
        elif isinstance(model, MotionModel):
            self.objective = MovingObjective(model, options)
        else:
            assert isinstance(model, Cascade | DirectNet)  # see `check_options`
            self.objective = Objective(model, options, features)
        self.objective.to(device)
        self.flop = self._forward_flop()
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        self.optimizer = _adamw(trained, options)
        self.average = AveragedModel(
            self.model, multi_avg_fn=RampedAverage(options.ema), use_buffers=False
        )
        self.critic = AdversarialObjective().to(device) if options.adversarial else None
        self.critic_optimizer = (
            _adamw(list(self.critic.parameters()), options) if self.critic else None
        )
        # Each process draws samples of its own.
        self.generator = torch.Generator(device).manual_seed(options.seed * 1000 + self.rank)
        torch.manual_seed(options.seed * 1000 + self.rank)
        self.step, self.seconds = 0, 0.0
        self.kept: list[Batch] | None = None
        """What validates, once it was asked for."""
        self.validated, self.scores = -math.inf, dict[str, float]()
        """When that was worth doing again, and what came of it."""
        self.history: list[dict[str, Any]] = []

    def _make_model(self, initial: weights.WeightSet | None) -> Trainable:
        model, asked = self.options.model, spec_asked(self.options)
        found = build(model, asked) if initial is None else weights.load(initial)
        if isinstance(found, MotionModel):  # its middle frames come with the data
            found = MotionModel(GivenMiddle(), found.motion, found.restoration)
        if initial is None:
            return found
        if initial.model == model:
            return found.requires_grad_(True)
        larger = build(model, asked)
        assert isinstance(larger, BDIRNet) and isinstance(found, DirectNet)  # see `_continued`
        larger.begin_with(found)
        return larger

    def _forward_flop(self) -> int:
        """Floating-point operations of the forward pass of one training sample.

        Proportional to the pixels, so counted on a small sample; not a single pixel is left of
        it in any feature map, which normalization refuses.
        """
        side = 2 * self.multiple
        if isinstance(self.model, MotionModel):
            batch = example(side, self.device)
            return runtime.count_flop(lambda: self.objective(*batch)) * self.crop**2 // side**2
        y = torch.zeros(1, 3, side, side, device=self.device)
        count = 2 if isinstance(self.model, BDIRNet) else FRAMES
        x = y.unsqueeze(1).expand(1, count, 3, side, side)
        return runtime.count_flop(lambda: self.objective(y, x)) * self.crop**2 // side**2

    def fit(
        self, on_step: Callable[[TrainStep], None] | None, stop: Callable[[], bool]
    ) -> weights.WeightSet:
        """Run until the budget is spent, or until it is to stop; the last step is saved."""
        wrapped, critic = self._wrapped(self.objective), None
        objective = torch.compile(wrapped) if self.options.compile else wrapped
        if self.critic is not None:
            critic = self._wrapped(self.critic)
        self._make_folder()
        if self.step == 0:
            self.save()  # a run killed early can be resumed, one that fails at once has a state
        meter = Meter(self.flop)
        saved = started = time.monotonic()
        before, first = self.seconds, self.step
        self.model.train()
        while True:
            due = time.monotonic() - saved > self.options.save_minutes * 60
            progress, due = self._agree(self._progress(), due)
            if due:
                self._validate()
                self.save()
                saved = time.monotonic()
            if progress >= 1:
                break
            # Of several processes one that is told to end ends: the others cannot do without it.
            if self.world == 1 and stop():
                return self.save()
            lr = learning_rate(progress, self.options)
            for optimizer in filter(None, (self.optimizer, self.critic_optimizer)):
                for group in optimizer.param_groups:
                    group["lr"] = lr
            self.objective.at(progress)
            begun = time.monotonic()  # on a GPU the last step's work goes on meanwhile
            batch = self.source.draw(self.options.batch, self.crop, self.generator)
            meter.waited += time.monotonic() - begun
            found, norm = self._update(objective, critic, batch)
            meter.add(found, norm, len(batch[0]) * self.world)
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - started
            if self.step % self.options.log_every == 0:
                report = meter.report(self.step, progress, self.seconds, lr)
                self._log(report, on_step)
        if meter.steps:
            self._log(meter.report(self.step, 1.0, self.seconds, self.options.lr_end), on_step)
        if self.step > first:
            self._validate(last=True)
        return self.save()

    def _wrapped(self, module: nn.Module) -> nn.Module:
        return DistributedDataParallel(module) if self.world > 1 else module

    def _progress(self) -> float:
        if self.options.max_steps is not None:
            return self.step / max(self.options.max_steps, 1)
        return self.seconds / max(self.options.minutes * 60, 1e-9)

    def _agree(self, progress: float, due: bool) -> tuple[float, bool]:
        """Let all processes save and stop at the same step: the first one's clock counts."""
        if self.world > 1:
            shared = torch.tensor([progress, float(due)], dtype=torch.float64, device=self.device)
            dist.broadcast(shared, 0)
            progress, due = shared[0].item(), bool(shared[1])
        return progress, due

    def _update(
        self, objective: Callable[..., Any], critic: nn.Module | None, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Take one step; returns the losses and the norm of the gradient."""
        with runtime.autocast(self.device, self.dtype):
            found, estimates = objective(*batch)
            y, x = batch[:2]
            seen = outer_frames(y, x, estimates) if self.critic is not None else None
            if self.critic is not None and seen is not None:
                fooled = self.critic.deceive(seen[0], seen[2])
                found = found | {"adversarial": self.options.adversarial * fooled}
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, self.options.clip)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        if critic is not None and seen is not None and self.critic_optimizer is not None:
            with runtime.autocast(self.device, self.dtype):
                found["critic"] = critic(*seen)
            self.critic_optimizer.zero_grad(set_to_none=True)
            found["critic"].backward()
            self.critic_optimizer.step()
        return {name: loss.detach() for name, loss in found.items()}, norm

    def _log(self, report: TrainStep, on_step: Callable[[TrainStep], None] | None) -> None:
        values = [*report.losses.values(), report.grad_norm]
        if not all(map(_finite, values)):
            raise TrainingError(
                f"the loss is not finite at step {report.step}; {self.out} holds the last good "
                "state, try a smaller learning rate or fp32"
            )
        if self.rank:
            return
        append(dataclasses.asdict(report), self.out / LOG_FILE)
        if on_step:
            on_step(report)

    def _validate(self, last: bool = False) -> None:
        """Score the averaged weights on what the source keeps apart, where it is time to."""
        begun, model = time.monotonic(), self.average.module
        if self.rank or not isinstance(model, MotionModel) or not (last or begun > self.validated):
            return
        if self.kept is None:
            self.kept = list(validation_of(self.source))
        self.scores = validate(model, self.kept, self.dtype)
        now = time.monotonic()
        self.validated = now + (now - begun) / VALIDATION_SHARE
        if self.scores:
            line = {name: round(score, 4) for name, score in self.scores.items()}
            append(
                {"step": self.step, "seconds": round(self.seconds, 2)} | line,
                self.out / SCORES_FILE,
            )

    def _make_folder(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.out}: cannot make this folder ({error.strerror})") from error
        if self.rank == 0:
            remove_stale(self.out)

    def save(self) -> weights.WeightSet:
        """Write checkpoint and averaged weights.

        Raises:
            TrainingError: weights that are not finite; nothing is written.
        """
        modules = {"model": self.model, "average": self.average.module}
        if self.critic is not None:
            modules["critic"] = self.critic
        for name, parameter in (
            (f"{kind} {name}", parameter)
            for kind, module in modules.items()
            for name, parameter in module.named_parameters()
        ):
            if not parameter.isfinite().all():
                raise TrainingError(
                    f"{name} is not finite after step {self.step}; {self.out} holds the last "
                    "good state"
                )
        averaged = self.average.module
        assert isinstance(averaged, Trainable)
        if self.rank == 0:
            save_state(self.state(), self.out / STATE_FILE)
            saved = weights.save(
                averaged,
                self.out / WEIGHTS_FOLDER,
                name=self.out.resolve().name or "run",
                recipe=self.recipe(),
                data=self.source.describe(),
                scores={"validation": self.scores} if self.scores else {},
                licence="",
                overwrite=True,
                extra={"middle": self.options.paths.middle}
                if isinstance(averaged, MotionModel)
                else None,
            )
        if self.world > 1:
            dist.barrier()
        return saved if self.rank == 0 else weights.find(self.out / WEIGHTS_FOLDER)

    def recipe(self) -> dict[str, Any]:
        """All that is needed to repeat the run."""
        return dataclasses.asdict(self.options) | {
            "crop": self.crop,
            "history": self.history,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "processes": self.world,
            "device": runtime.describe(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
        }

    @property
    def _exact(self) -> bool:
        """Whether a run that goes on takes the very steps of one that was not interrupted."""
        return self.world == 1 and self.generator.device.type == "cpu"

    def state(self) -> dict[str, Any]:
        """The checkpoint: plain values and tensors only."""
        return {
            "options": json.dumps(dataclasses.asdict(self.options)),
            "history": json.dumps(self.history),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "heads": self.objective.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critic": self.critic.state_dict() if self.critic else None,
            "critic_optimizer": self.critic_optimizer.state_dict()
            if self.critic_optimizer
            else None,
            "generator": self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "source": state_of(self.source) if self._exact else None,
            "processes": self.world,
            "launch": launch(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up the run in `out` where its checkpoint stands.

        Options may differ from those it began with; the recipe then tells what changed when.

        Args:
            state: what `load_state` read.

        Raises:
            InputError: not a checkpoint, or one of another model.
        """
        path = self.out / STATE_FILE
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.objective.heads.load_state_dict(state.get("heads", {}))
            self.optimizer.load_state_dict(state["optimizer"])
            if self.critic and self.critic_optimizer and state["critic"]:
                self.critic.load_state_dict(state["critic"])
                self.critic_optimizer.load_state_dict(state["critic_optimizer"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.history = list(json.loads(state["history"]))
            old, new = dict(json.loads(state["options"])), _plain(self.options)
            if not 0 <= self.step < MOST or not 0 <= self.seconds < float("inf"):
                raise ValueError("a step or a time that no run has")
            check_optimizer(self.optimizer)
            if self.critic_optimizer:
                check_optimizer(self.critic_optimizer)
            if self._exact and state.get("processes", 1) == 1:
                resume_source(self.source, state.get("source"))
                self.generator.set_state(state["generator"])
                torch.set_rng_state(state["torch_rng"])
            else:  # fresh streams for each process, not those it began with
                seed = (self.options.seed + self.step) * 1000 + self.rank
                self.generator.manual_seed(seed)
                torch.manual_seed(seed)
        except DAMAGED as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{path}: not a checkpoint of this run ({reason})") from error
        changed = {key: old[key] for key in new if key in old and not _agree(old[key], new[key])}
        processes = state.get("processes", self.world)
        if processes != self.world:  # and with them the samples of a step
            changed["processes"] = processes
        if changed:
            self.history.append({"until_step": self.step, "options": changed})
        if self.rank == 0:
            for name in (LOG_FILE, SCORES_FILE):
                cut(self.out / name, self.step)


def _multiple(model: Trainable) -> int:
    """What divides the sides of training crops."""
    if isinstance(model, MotionModel):  # which takes photos of any size
        return math.lcm(model.motion.size_multiple, model.restoration.size_multiple)
    return model.size_multiple


def _adamw(parameters: list[nn.Parameter], options: TrainOptions) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=options.lr, betas=(0.9, 0.99), weight_decay=options.weight_decay
    )


def _plain(options: TrainOptions) -> dict[str, Any]:
    """Options as they come back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options)))
    return plain


def _agree(old: Any, new: Any) -> bool:
    """Whether an option is what it was; fields that were not known then do not count."""
    if isinstance(new, dict) and isinstance(old, dict):
        return all(_agree(old[key], value) for key, value in new.items() if key in old)
    return bool(new == old)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
