"""One training run, from its options to its weights: data, steps, log, checkpoints and scores."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blurvid import runtime, weights
from blurvid.atomic import LOCK_FILE, locked
from blurvid.bounds import MOST
from blurvid.config import RunOptions
from blurvid.errors import InputError, OptionError, OutputError, TrainingError
from blurvid.lab.data import Batch, Source
from blurvid.lab.options import TrainOptions
from blurvid.lab.train.learner import Learner
from blurvid.lab.train.objective import validate
from blurvid.lab.train.settings import adopt_spec, check_options, stored_spec
from blurvid.lab.train.state import DAMAGED, append, cut, learning_rate, load_state, save_state
from blurvid.media import remove_stale
from blurvid.models import MotionModel, Trainable
from blurvid.weights import store

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
SCORES_FILE = "scores.jsonl"
"""Lines of validation, of what keeps windows apart for it."""
WEIGHTS_FOLDER = "weights"
VALIDATION_SHARE = 0.05
"""Most of the time that may be spent on validation before the end of a run."""


@dataclass(frozen=True)
class TrainStep:
    """What a run reports every `log_every` steps; a line of its log."""

    step: int
    progress: float
    """Spent share of the budget, in [0, 1]."""
    seconds: float
    """Since the run began, earlier sessions of a resumed run included."""
    lr: float
    losses: dict[str, float]
    """Mean of each loss since the last report."""
    grad_norm: float
    samples_per_second: float
    data_share: float
    """Share of the time spent waiting for data."""


def train(
    options: TrainOptions,
    source: Callable[[torch.device], Source],
    out: Path,
    *,
    run: RunOptions = RunOptions(),
    initial: weights.WeightSet | None = None,
    vgg: Path | None = None,
    resume: bool = False,
    on_step: Callable[[TrainStep], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> weights.WeightSet:
    """Train a model.

    Args:
        options: the run.
        source: makes the source of training windows on a device.
        out: folder for the checkpoint (`state.pt`), the log (`log.jsonl`) and the averaged
            weights (`weights/`, a weight set).
        run: device, precision, threads.
        initial: weights to start from.
        vgg: VGG16 weights for the perceptual loss (safetensors, `conv1_1.weight` and so on).
        resume: go on with the run in `out`, where there is one. It keeps its shape of the network,
            as weights to start from keep theirs; options that ask for another one are refused. Its
            samples are drawn anew.
        on_step: called with each line of the log.
        stop: asked before each step; where it says so, the run is saved and ends early, to be
            resumed.

    Returns:
        The averaged weights.

    Raises:
        OutputError: another run is in `out`, or it cannot be written.
        TrainingError: a loss or weight that is not finite; `out` holds the last good state.
        InputError, OptionError, DeviceError: as their names say.
    """
    check_options(options)
    with locked(out / LOCK_FILE, out):
        path = out / STATE_FILE
        state = load_state(path) if path.exists() else None
        if state is not None and not resume:
            raise OutputError(f"{out}: a run is already there; resume it or name another folder")
        if state is not None:
            options, initial = _resumed(options, state, path), None
        elif initial is not None:
            options = _continued(options, initial)
        with runtime.running(run) as (device, dtype):
            if dtype == torch.float16:
                raise OptionError("fp16 loses small gradients; train in bf16 or fp32")
            trainer = Trainer(Learner(options, device, dtype, initial, vgg), source(device), out)
            if state is not None:
                trainer.load(state)
            torch.backends.cudnn.benchmark = True  # all crops have one size
            return trainer.fit(on_step, stop)


def _continued(options: TrainOptions, initial: weights.WeightSet) -> TrainOptions:
    """Options of a run that starts from weights, whose shape it takes over."""
    if initial.model != options.model:
        raise OptionError(
            f"weights {initial.name!r} are for the {initial.model} model, not for {options.model}"
        )
    try:
        return adopt_spec(options, store.spec_of(initial))
    except OptionError as error:
        raise OptionError(f"weights {initial.name!r} do not fit: {error}") from None


def _resumed(options: TrainOptions, state: dict[str, Any], path: Path) -> TrainOptions:
    """Options of a run that goes on, with the shape that it began with."""
    try:
        options = adopt_spec(options, stored_spec(json.loads(state["options"]), options.model))
        check_options(options)  # a shape that no network can have, too
    except (OptionError, *DAMAGED) as error:
        raise InputError(f"{path}: not a checkpoint of this run ({error})") from error
    return options


class Trainer:
    """A run in progress; `train` is the way in.

    Args:
        learner: what is trained.
        source: the training windows.
        out: folder of the run.
    """

    def __init__(self, learner: Learner, source: Source, out: Path) -> None:
        self.learner, self.source, self.out = learner, source, out
        self.options = learner.options
        self.generator = torch.Generator(learner.device)
        self._seed(self.options.seed)
        self.step, self.seconds = 0, 0.0
        self.kept: list[Batch] | None = None
        """What validates, once it was asked for."""
        self.validated, self.scores = -math.inf, dict[str, float]()
        """When that is worth doing again, and what came of it."""
        self.history: list[dict[str, Any]] = []
        self.untold: list[tuple[dict[str, Tensor], Tensor]] = []
        """Losses and norm of the gradient of each step since the last report, on the device, so
        that no step waits for another."""
        self.told, self.waited = 0.0, 0.0
        """When that was, and how long was waited for data since [s]."""

    def _seed(self, seed: int) -> None:
        self.generator.manual_seed(seed * 1000)
        torch.manual_seed(seed * 1000)

    def fit(
        self, on_step: Callable[[TrainStep], None] | None, stop: Callable[[], bool]
    ) -> weights.WeightSet:
        """Run until the budget is spent, or until it is to stop; the last step is saved."""
        remove_stale(self.out)
        if self.step == 0:
            self.save()  # a run killed early can be resumed, one that fails at once has a state
        saved = started = self.told = time.monotonic()
        before, first = self.seconds, self.step
        while True:
            progress = self._progress()
            if time.monotonic() - saved > self.options.save_minutes * 60:
                self._validate()
                self.save()
                saved = time.monotonic()
            if progress >= 1:
                break
            if stop():
                return self.save()
            begun = time.monotonic()  # on a GPU the last step's work goes on meanwhile
            batch = self.source.draw(self.options.batch, self.learner.crop, self.generator)
            self.waited += time.monotonic() - begun
            self.untold.append(self.learner.step(batch, progress))
            self.step += 1
            self.seconds = before + time.monotonic() - started
            if self.step % self.options.log_every == 0:
                self._log(progress, on_step)
        if self.untold:
            self._log(1.0, on_step)
        if self.step > first:
            self._validate(last=True)
        return self.save()

    def _progress(self) -> float:
        if self.options.max_steps is not None:
            return self.step / max(self.options.max_steps, 1)
        return self.seconds / max(self.options.minutes * 60, 1e-9)

    def _log(self, progress: float, on_step: Callable[[TrainStep], None] | None) -> None:
        losses, norms = zip(*self.untold, strict=True)
        means = {name: torch.stack([found[name] for found in losses]).mean() for name in losses[0]}
        norm = float(torch.stack(norms).mean())
        passed = max(time.monotonic() - self.told, 1e-9)  # after the means, which synchronize
        report = TrainStep(
            step=self.step,
            progress=round(progress, 6),
            seconds=round(self.seconds, 2),
            lr=learning_rate(progress, self.options),
            losses={name: float(mean) for name, mean in means.items()},
            grad_norm=norm,
            samples_per_second=round(len(norms) * self.options.batch / passed, 3),
            data_share=round(self.waited / passed, 4),
        )
        if not all(map(math.isfinite, [*report.losses.values(), norm])):
            raise TrainingError(
                f"the loss is not finite at step {self.step}; {self.out} holds the last good "
                "state, try a smaller learning rate or fp32"
            )
        append(dataclasses.asdict(report), self.out / LOG_FILE)
        if on_step:
            on_step(report)
        self.untold, self.told, self.waited = [], time.monotonic(), 0.0

    def _validate(self, last: bool = False) -> None:
        """Score the averaged weights on what the source keeps apart, where it is time to."""
        begun, model = time.monotonic(), self.learner.average.module
        if not isinstance(model, MotionModel) or not (last or begun > self.validated):
            return
        if self.kept is None:
            self.kept = list(self.source.validation())
        self.scores = validate(model, self.kept, self.learner.dtype)
        now = time.monotonic()
        self.validated = now + (now - begun) / VALIDATION_SHARE
        if self.scores:
            line = {name: round(score, 4) for name, score in self.scores.items()}
            head = {"step": self.step, "seconds": round(self.seconds, 2)}
            append(head | line, self.out / SCORES_FILE)

    def save(self) -> weights.WeightSet:
        """Write checkpoint and averaged weights.

        Raises:
            TrainingError: weights that are not finite; nothing is written.
        """
        broken = self.learner.not_finite()
        if broken is not None:
            raise TrainingError(
                f"{broken} is not finite after step {self.step}; {self.out} holds the last good "
                "state"
            )
        save_state(self.state(), self.out / STATE_FILE)
        return self._save_weights()

    def _save_weights(self) -> weights.WeightSet:
        averaged = self.learner.average.module
        assert isinstance(averaged, Trainable)
        motion = isinstance(averaged, MotionModel)
        return store.save(
            averaged,
            self.out / WEIGHTS_FOLDER,
            name=self.out.resolve().name or "run",
            recipe=self.recipe(),
            data=self.source.describe(),
            scores={"validation": self.scores} if self.scores else {},
            licence="",
            overwrite=True,
            extra={"middle": self.options.paths.middle} if motion else None,
        )

    def recipe(self) -> dict[str, Any]:
        """All that is needed to repeat the run."""
        return dataclasses.asdict(self.options) | {
            "crop": self.learner.crop,
            "history": self.history,
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "device": runtime.describe(self.learner.device),
            "precision": str(self.learner.dtype).removeprefix("torch."),
        }

    def state(self) -> dict[str, Any]:
        """The checkpoint: plain values and tensors only."""
        return self.learner.state() | {
            "options": json.dumps(dataclasses.asdict(self.options)),
            "history": json.dumps(self.history),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up the run in `out` where its checkpoint stands, with samples of its own.

        Options may differ from those it began with; the recipe then tells what changed when.

        Args:
            state: what `load_state` read.

        Raises:
            InputError: not a checkpoint, or one of another model.
        """
        try:
            self.learner.load(state)
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.history = list(json.loads(state["history"]))
            old, new = dict(json.loads(state["options"])), _plain(self.options)
            if not 0 <= self.step < MOST or not 0 <= self.seconds < math.inf:
                raise ValueError("a step or a time that no run has")
        except DAMAGED as error:
            reason = str(error).partition("\n")[0]
            path = self.out / STATE_FILE
            raise InputError(f"{path}: not a checkpoint of this run ({reason})") from error
        self._seed(self.options.seed + self.step)
        changed = {key: old[key] for key in new if key in old and not _same(old[key], new[key])}
        if changed:
            self.history.append({"until_step": self.step, "options": changed})
        for name in (LOG_FILE, SCORES_FILE):
            cut(self.out / name, self.step)


def _plain(options: TrainOptions) -> dict[str, Any]:
    """Options as they come back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(options)))
    return plain


def _same(old: Any, new: Any) -> bool:
    """Whether an option is what it was; fields that were not known then do not count."""
    if isinstance(new, dict) and isinstance(old, dict):
        return all(_same(old[key], value) for key, value in new.items() if key in old)
    return bool(new == old)
